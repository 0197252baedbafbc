"""The lease table in DynamoDB, in KCL's own format: who reads a shard, and how far it is done.

The in-process driver keeps its checkpoints in it, so that it and Amazon's daemon can follow each other. And
against an emulator the leases are made before the daemon starts, which saves it most of its start: KCL waits
1 to 30 s (at random) before it fills an empty table, and some more until it has elected a leader.
"""

import contextlib
from typing import Any, Final

from botocore.exceptions import ClientError

from streams.ingest.shards import SHARD_END, TRIM_HORIZON, Shard

OWNER_INDEX: Final = "LeaseOwnerToLeaseKeyIndex"


class LeaseLostError(Exception):
    """Another worker has taken the shard."""


class LeaseTable:
    """The leases of one application.

    Args:
        dynamodb: boto3's client.
        application: KCL's `applicationName`, which is the table's name.
    """

    def __init__(self, dynamodb: Any, application: str) -> None:
        self._dynamodb = dynamodb
        self._name = application

    def ensure(self) -> None:
        """Create the table, with KCL's index, if it is not there, and wait until it is."""
        with contextlib.suppress(self._dynamodb.exceptions.ResourceInUseException):
            self._dynamodb.create_table(
                TableName=self._name,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[
                    {"AttributeName": "leaseKey", "AttributeType": "S"},
                    {"AttributeName": "leaseOwner", "AttributeType": "S"},
                ],
                KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
                GlobalSecondaryIndexes=[
                    {
                        "IndexName": OWNER_INDEX,
                        "KeySchema": [
                            {"AttributeName": "leaseOwner", "KeyType": "HASH"},
                            {"AttributeName": "leaseKey", "KeyType": "RANGE"},
                        ],
                        "Projection": {"ProjectionType": "KEYS_ONLY"},
                    }
                ],
            )
        self._dynamodb.get_waiter("table_exists").wait(
            TableName=self._name, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )

    def checkpoints(self) -> dict[str, str]:
        """Give the checkpoint of each shard: a sequence number, `TRIM_HORIZON` or `SHARD_END`."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=self._name, ConsistentRead=True)
        return {item["leaseKey"]["S"]: item["checkpoint"]["S"] for page in pages for item in page["Items"]}

    def add(self, shard: Shard, owner: str) -> None:
        """Make the lease of a new shard, at its oldest record; one that exists stays as it is."""
        item: dict[str, Any] = {
            "leaseKey": {"S": shard.shard_id},
            "leaseOwner": {"S": owner},
            "leaseCounter": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
            "checkpoint": {"S": TRIM_HORIZON},
            "checkpointSubSequenceNumber": {"N": "0"},
            "startingHashKey": {"S": shard.starting_hash_key},
            "endingHashKey": {"S": shard.ending_hash_key},
        }
        if shard.parents:
            item["parentShardId"] = {"SS": list(shard.parents)}
        self._unless_refused(
            self._dynamodb.put_item,
            Item=item,
            ConditionExpression="attribute_not_exists(leaseKey)",
        )

    def take(self, shard_id: str, owner: str, *, even_from_others: bool) -> None:
        """Become the owner of a lease: of one that nobody has, or of any (its owner then finds it lost)."""
        condition = "attribute_exists(leaseKey)"
        if not even_from_others:
            condition += " AND attribute_not_exists(leaseOwner)"
        self._unless_refused(
            self._dynamodb.update_item,
            Key={"leaseKey": {"S": shard_id}},
            UpdateExpression="SET leaseOwner = :owner ADD leaseCounter :one",
            ConditionExpression=condition,
            ExpressionAttributeValues={":owner": {"S": owner}, ":one": {"N": "1"}},
        )

    def save(self, shard_id: str, owner: str, sequence_number: str, sub_sequence_number: int) -> None:
        """Save a checkpoint.

        Raises:
            LeaseLostError: the lease has another owner.
            ClientError: DynamoDB refuses, for its load or otherwise.
        """
        saved = self._unless_refused(
            self._dynamodb.update_item,
            Key={"leaseKey": {"S": shard_id}},
            UpdateExpression=(
                "SET checkpoint = :sequence, checkpointSubSequenceNumber = :sub ADD leaseCounter :one"
            ),
            ConditionExpression="leaseOwner = :owner",
            ExpressionAttributeValues={
                ":sequence": {"S": sequence_number},
                ":sub": {"N": str(sub_sequence_number)},
                ":owner": {"S": owner},
                ":one": {"N": "1"},
            },
        )
        if not saved:
            raise LeaseLostError(f"shard {shard_id} has another owner than {owner}")

    def release(self, shard_id: str, owner: str) -> None:
        """Give a lease up, so that the next worker need not wait for it to expire."""
        self._unless_refused(
            self._dynamodb.update_item,
            Key={"leaseKey": {"S": shard_id}},
            UpdateExpression="REMOVE leaseOwner ADD leaseCounter :one",
            ConditionExpression="leaseOwner = :owner",
            ExpressionAttributeValues={":owner": {"S": owner}, ":one": {"N": "1"}},
        )

    def end(self, shard_id: str, owner: str) -> None:
        """Save that a shard is read to its end.

        Raises:
            LeaseLostError: the lease has another owner.
            ClientError: DynamoDB refuses.
        """
        self.save(shard_id, owner, SHARD_END, 0)

    def give_up_leadership(self, worker: str) -> None:
        """Undo that a worker, now dead, leads the others: they would wait two minutes for it to come back."""
        with contextlib.suppress(
            self._dynamodb.exceptions.ResourceNotFoundException,
            self._dynamodb.exceptions.ConditionalCheckFailedException,
        ):
            self._dynamodb.delete_item(
                TableName=f"{self._name}-CoordinatorState",
                Key={"key": {"S": "Leader"}},
                ConditionExpression="ownerName = :worker",
                ExpressionAttributeValues={":worker": {"S": worker}},
            )

    def _unless_refused(self, call: Any, **arguments: Any) -> bool:
        try:
            call(TableName=self._name, **arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True
