"""Customers: a profile merged field by field, in any order."""

import hashlib
import hmac
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from processors.batches import visitor_events
from processors.lww import Version, Written, earlier, later, version_of
from streams.engine.batch import Batch, Output, Result, StateReader
from streams.facts import VisitorEvent
from streams.silver import REVISION, Customer, Revision, encode_silver
from streams.topics import CLEAN_EVENTS, SILVER_CUSTOMERS

PERSONAL: Final = frozenset({"email", "name", "birth_year"})


class CustomerState(Struct, array_like=True):
    """What is known of a customer. Personal values older than a deletion are not kept."""

    fields: dict[str, Written] = {}
    signed_up_at: str | None = None
    signup: Version | None = None
    deleted: Version | None = None
    first_seen_at: str | None = None
    last_seen_at: str | None = None
    acquisition: Written | None = None


_decode_state = msgspec.msgpack.Decoder(CustomerState).decode
_encode_state = msgspec.msgpack.Encoder().encode


def merge_event(state: CustomerState, event: VisitorEvent) -> None:
    """Merge one event of the customer into the state; order and repetition do not matter."""
    version = version_of(event)
    for field, value in (event.profile or {}).items():
        written = later(state.fields.get(field), Written(version, value))
        if written is not None:
            state.fields[field] = written
    if event.event_type == "signup":
        state.signed_up_at = min(filter(None, (state.signed_up_at, version.at)))
        state.signup = max(filter(None, (state.signup, version)))
    elif event.event_type == "account_deleted":
        state.deleted = max(filter(None, (state.deleted, version)))
    if event.has_context:
        state.acquisition = earlier(state.acquisition, Written(version, [event.channel, event.campaign]))
    state.first_seen_at = min(filter(None, (state.first_seen_at, version.at)))
    state.last_seen_at = max(filter(None, (state.last_seen_at, version.at)))
    _end_personal_fields(state)


def _end_personal_fields(state: CustomerState) -> None:
    if state.deleted is None:
        return
    for field in PERSONAL & state.fields.keys():
        if state.fields[field].version <= state.deleted:
            state.fields[field] = Written(state.fields[field].version, None)


def to_customer(customer_id: str, state: CustomerState, revision: Revision, secret: bytes) -> Customer:
    """Give the record of `silver.customers`.

    Args:
        customer_id: whose.
        state: with at least one event in it.
        revision: of the state.
        secret: key of the e-mail hash.
    """
    first_seen_at = datetime.fromisoformat(state.first_seen_at or "")
    values: dict[str, Any] = {field: written.value for field, written in state.fields.items()}
    email = values.get("email")
    address = normalised_email(email) if email else ""
    channel, campaign = state.acquisition.value if state.acquisition else (None, None)
    country = values.get("country")
    return Customer(
        customer_id=customer_id,
        revision=revision,
        email=email,
        email_hash=email_hash(address, secret) if address else None,
        email_domain=address.rpartition("@")[2] or None,
        name=values.get("name"),
        country=country.upper() if country else None,
        birth_year=values.get("birth_year"),
        marketing_opt_in=values.get("marketing_opt_in"),
        created_at=datetime.fromisoformat(state.signed_up_at) if state.signed_up_at else first_seen_at,
        acquisition_channel=channel,
        acquisition_campaign=campaign,
        acquisition_at=datetime.fromisoformat(state.acquisition.version.at) if state.acquisition else None,
        acquisition_event_id=state.acquisition.version.event_id if state.acquisition else None,
        first_seen_at=first_seen_at,
        last_seen_at=datetime.fromisoformat(state.last_seen_at or ""),
        is_deleted=state.deleted is not None and (state.signup is None or state.signup <= state.deleted),
    )


def normalised_email(email: str) -> str:
    """Give an address as it is compared: without surrounding space, in Unicode's form C, in lower case.

    Nothing is taken away that some provider ignores (dots, `+tag`): to others they are other addresses.
    """
    return unicodedata.normalize("NFC", email.strip()).lower()


def email_hash(address: str, secret: bytes) -> str:
    """Give the keyed hash of a normalised address: HMAC-SHA-256 (RFC 2104), 64 hexadecimal digits.

    With a key, since addresses are few enough to be guessed: a bare hash would be as good as the address.
    """
    return hmac.new(secret, address.encode(), hashlib.sha256).hexdigest()


class CustomersStage:
    """Keeps every customer's profile.

    Args:
        email_secret: key of the e-mail hash.
    """

    name: Final = "customers"
    topic: Final = CLEAN_EVENTS
    stateful: Final = True
    state_settings: Final[Mapping[str, str]] = {"layout": "1"}

    def __init__(self, email_secret: bytes) -> None:
        self._secret = email_secret

    def process(self, batch: Batch, state: StateReader, revision: Revision, now: datetime) -> Result:  # noqa: ARG002  (event time alone decides)
        """Merge a batch; every customer it touched is written and sent, changed or not."""
        touched: dict[str, CustomerState] = {}
        for event in visitor_events(batch):
            if event.customer_id is None:
                continue
            customer = touched.get(event.customer_id)
            if customer is None:
                stored = state.get(event.customer_id.encode())
                customer = touched[event.customer_id] = _decode_state(stored) if stored else CustomerState()
            merge_event(customer, event)
        header = revision.to_header()
        outputs = [
            Output(
                SILVER_CUSTOMERS,
                customer_id.encode(),
                encode_silver(to_customer(customer_id, customer, revision, self._secret)),
                [(REVISION, header)],
            )
            for customer_id, customer in touched.items()
        ]
        return Result(outputs, {key.encode(): _encode_state(value) for key, value in touched.items()})
