"""What a caller may ask, each parameter with its bounds: nothing beyond them reaches the database."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from twap_pipeline.api.errors import Problem, ProblemError

LIMIT_MAX = 1_000
OFFSET_MAX = 10_000
DAYS_OF_STATS_MAX = 93
DAYS_OF_COVERAGE_MAX = 3_660
_FIRST_YEAR, _LAST_YEAR = 2000, 2100

_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?([Zz]|[+\- ]\d{2}:\d{2})?)?")
_PLUS_READ_AS_SPACE = re.compile(r" (\d{2}:\d{2})$")
_FRACTION = re.compile(r"([.]\d{6})\d+")


def _read_moment(text: object) -> datetime:
    """Read RFC 3339, or a day for its midnight; without an offset it is UTC."""
    if not isinstance(text, str) or not _MOMENT.fullmatch(text):
        raise ValueError("give a day (2025-08-17) or a time of RFC 3339 (2025-08-17T00:00:00Z)")
    whole = len(text) > len("2025-08-17T00:00")
    spelled = _PLUS_READ_AS_SPACE.sub(r"+\1", text) if whole else text
    moment = datetime.fromisoformat(_FRACTION.sub(r"\1", spelled).upper())
    if not _FIRST_YEAR <= moment.year < _LAST_YEAR:
        raise ValueError(f"the year must be from {_FIRST_YEAR} to {_LAST_YEAR - 1}")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _read_day(text: object) -> date:
    moment = _read_moment(text)
    if not isinstance(text, str) or len(text) != len("2025-08-17"):
        raise ValueError("give a day: 2025-08-17")
    return moment.date()


def _storable(text: str) -> str:
    if "\0" in text or not text.isprintable():
        raise ValueError("has characters that no asset or status has")
    return text


_WALLET = {
    "pattern": "^0[xX][0-9a-fA-F]{40}$",
    "description": "The owner's address, in any case.",
    "examples": ["0x6fa44c6d0584c9f27551533482b256a102194330"],
}
Lower = AfterValidator(str.lower)
WalletQuery = Annotated[str, Query(**_WALLET), Lower]
WalletPath = Annotated[str, Path(**_WALLET), Lower]
WalletFilter = Annotated[str | None, Query(**_WALLET), AfterValidator(lambda wallet: wallet and wallet.lower())]
TwapIdPath = Annotated[
    str, Path(pattern="^[0-9]{1,40}$", description="The order's id on the exchange.", examples=["1079490"])
]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Rows of a page at most.")]
Offset = Annotated[
    int,
    Query(
        ge=0,
        le=OFFSET_MAX,
        description="Rows to leave out, for those who come from elsewhere. Rows that arrive meanwhile shift pages made"
        " so; cursors are not shifted.",
    ),
]
CursorText = Annotated[
    str | None,
    Query(min_length=1, max_length=500, description="next_cursor of the page before, with the same parameters."),
]
On = Annotated[
    Literal["event", "started", "ended"],
    Query(
        description="What the range is on: the events' times, the start of their order, or the time of its terminal"
        " event. An order whose start is nowhere to_json_value is in no range of starts."
    ),
]
LatestOnly = Annotated[
    bool, Query(description="Of each order only its latest event in the range; otherwise every event is an item.")
]
AssetFilter = Annotated[
    str | None,
    Query(min_length=1, max_length=64, description="Only this asset, as the exchange writes it.", examples=["BTC"]),
    AfterValidator(_storable),
]
StatusFilter = Annotated[
    str | None,
    Query(min_length=1, max_length=64, description="Only orders at this status.", examples=["finished"]),
    AfterValidator(_storable),
]

Horizons = Annotated[
    tuple[Annotated[int, Field(ge=1, le=10_080)], ...],
    Query(min_length=1, max_length=10, description="Minutes from now; may be repeated."),
]

_EITHER = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
Start = Annotated[
    datetime | None,
    BeforeValidator(_read_moment),
    WithJsonSchema(_EITHER),
    Query(
        description="Beginning of the range, inside it: a day, or a time of RFC 3339; UTC if it names no offset.",
        examples=["2025-08-17"],
    ),
]
End = Annotated[
    datetime | None,
    BeforeValidator(_read_moment),
    WithJsonSchema(_EITHER),
    Query(description="End of the range, outside it.", examples=["2026-01-01T00:00:00Z"]),
]
_FIRST_DAY = (
    BeforeValidator(_read_day),
    WithJsonSchema({"type": "string", "format": "date"}),
    Query(description="First UTC day.", examples=["2025-08-17"]),
)
Day = Annotated[date, *_FIRST_DAY]
StartDay = Annotated[date | None, *_FIRST_DAY]
EndDay = Annotated[
    date | None,
    BeforeValidator(_read_day),
    WithJsonSchema({"type": "string", "format": "date"}),
    Query(description="The day after the last.", examples=["2025-09-01"]),
]


def require_start_before_end(start: date | None, end: date | None) -> None:
    """Refuse a range that ends before it begins.

    Raises:
        ProblemError: 400.
    """
    if start is not None and end is not None and end < start:
        raise ProblemError(Problem(400, "Invalid range", "end must not be before start."))


def require_days(start: date, end: date, at_most: int) -> None:
    """Refuse a range of days that is reversed or too long.

    Raises:
        ProblemError: 400.
    """
    require_start_before_end(start, end)
    if (end - start).days > at_most:
        raise ProblemError(Problem(400, "Range too long", f"Ask for {at_most} days at most."))


def format_timestamp(moment: datetime | None) -> str | None:
    """Return a moment as the API tells it."""
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"
