"""Where Kinesis and DynamoDB are."""

from pipeline.settings import Settings
from streams.ingest.source import Aws


def aws_of(settings: Settings) -> Aws:
    """Give where Kinesis and DynamoDB are."""
    # An emulator serves both; leases of an emulated stream must never reach AWS.
    dynamodb = settings.dynamodb_endpoint or settings.kinesis_endpoint
    return Aws(settings.aws_region, settings.kinesis_endpoint, dynamodb)
