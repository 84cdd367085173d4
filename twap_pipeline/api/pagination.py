"""Opaque cursors: the place where a page begins, bound to the question that it was given for.

The checksum finds a cursor that was cut, mistyped or given with another question. It is no secret: a forged cursor can
only ask for what any question could.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.queries.events import EventCursor
from twap_pipeline.api.queries.orders import DailyStatsCursor

INVALID_CURSOR = Problem(
    400, "Invalid cursor", "Give next_cursor of the page before as it is, with the same parameters; or start anew."
)
_CHECK_BYTES = 12


def encode(question: Mapping[str, object], parts: Sequence[str | int]) -> str:
    """Return a cursor for a question that holds these parts."""
    payload = json.dumps(list(parts)).encode()
    return _spelled(_check(question, payload) + payload)


def decode(question: Mapping[str, object], cursor: str) -> list[object]:
    """Return the parts of a cursor.

    Raises:
        ProblemError: 400, it is none of ours, or was given for another question.
    """
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        check, payload = sealed[:_CHECK_BYTES], sealed[_CHECK_BYTES:]
        if check != _check(question, payload) or _spelled(sealed) != cursor:
            raise ProblemError(INVALID_CURSOR)
        parts = json.loads(payload)
    except (ValueError, binascii.Error) as error:
        raise ProblemError(INVALID_CURSOR) from error
    if not isinstance(parts, list):
        raise ProblemError(INVALID_CURSOR)
    return parts


def _spelled(sealed: bytes) -> str:
    """Return the one spelling of a cursor's bytes."""
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _check(question: Mapping[str, object], payload: bytes) -> bytes:
    asked = json.dumps({name: str(value) for name, value in question.items()}, sort_keys=True).encode()
    return hashlib.blake2b(payload, key=hashlib.sha256(asked).digest(), digest_size=_CHECK_BYTES).digest()


def encode_event_cursor(question: Mapping[str, object], place: EventCursor) -> str:
    """Return the cursor of a place among events."""
    return encode(question, [_micros(place.ts), place.twap_id, place.bound, _micros(place.first_read_at)])


def decode_event_cursor(question: Mapping[str, object], cursor: str) -> EventCursor:
    """Return the place that a cursor holds.

    Raises:
        ProblemError: 400, it holds none.
    """
    match decode(question, cursor):
        case [int(ts), str(twap_id), int(bound), int(read_at)]:
            return EventCursor(_moment(ts), twap_id, bound, _moment(read_at))
    raise ProblemError(INVALID_CURSOR)


def encode_daily_cursor(question: Mapping[str, object], place: DailyStatsCursor) -> str:
    """Return the cursor of a place among daily figures."""
    return encode(question, [place.day.isoformat(), place.asset, place.side, place.status])


def decode_daily_cursor(question: Mapping[str, object], cursor: str) -> DailyStatsCursor:
    """Return the place among daily figures that a cursor holds.

    Raises:
        ProblemError: 400, it holds none.
    """
    match decode(question, cursor):
        case [str(day), str(asset), str(side), str(status)]:
            return DailyStatsCursor(date.fromisoformat(day), asset, side, status)
    raise ProblemError(INVALID_CURSOR)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _micros(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _moment(micros: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError as error:
        raise ProblemError(INVALID_CURSOR) from error
