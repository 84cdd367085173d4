"""The request parameters of the API and their bounds. FastAPI refuses any other value before a statement runs."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Literal, get_origin

from fastapi import Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.queries.order_list import Sort, TimeField
from twap_pipeline.api.schemas.field_types import ReconciliationState
from twap_pipeline.domain.symbols import Market

LIMIT_MAX = 1_000
WALLETS_MAX = 50
RANGE_DAYS_MAX = 31
LEADERBOARD_DAYS_MAX = 366
STATS_DAYS_MAX = 93
COVERAGE_DAYS_MAX = 3_660
_FIRST_YEAR, _LAST_YEAR = 2000, 2099

_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?([Zz]|[+\- ]\d{2}:\d{2})?)?")
_PLUS_DECODED_AS_SPACE = re.compile(r" (\d{2}:\d{2})$")


def _parse_timestamp(text: object) -> datetime:
    """Parse RFC 3339, or a day as its midnight. A time without an offset is UTC; nanoseconds are truncated."""
    if not isinstance(text, str) or not _TIMESTAMP.fullmatch(text):
        raise ValueError("must be a day (2025-08-17) or an RFC 3339 time (2025-08-17T00:00:00Z)")
    if len(text) > len("2025-08-17T00:00"):  # a "+" in a query string that was not percent-encoded
        text = _PLUS_DECODED_AS_SPACE.sub(r"+\1", text)
    timestamp = datetime.fromisoformat(text.upper())
    if not _FIRST_YEAR <= timestamp.year <= _LAST_YEAR:
        raise ValueError(f"year must be between {_FIRST_YEAR} and {_LAST_YEAR}")
    return timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)


def _parse_day(text: object) -> date:
    timestamp = _parse_timestamp(text)
    if not isinstance(text, str) or len(text) != len("2025-08-17"):
        raise ValueError("must be a day (2025-08-17)")
    return timestamp.date()


def _require_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must contain only printable characters")
    return text


_WALLET = {
    "pattern": "^0[xX][0-9a-fA-F]{40}$",
    "description": "Wallet that owns the orders, in upper or lower case.",
    "examples": ["0x6fa44c6d0584c9f27551533482b256a102194330"],
}
_LowerCase = AfterValidator(str.lower)
WalletPath = Annotated[str, Path(**_WALLET), _LowerCase]
WalletFilter = Annotated[str | None, Query(**_WALLET), AfterValidator(lambda wallet: wallet and wallet.lower())]
WalletsFilter = Annotated[
    list[Annotated[str, Field(pattern=_WALLET["pattern"]), _LowerCase]],
    Query(
        max_length=WALLETS_MAX,
        description=f"Only orders of this wallet; can be repeated, up to {WALLETS_MAX} times. Upper or lower case.",
        examples=[_WALLET["examples"]],
    ),
]
TwapIdPath = Annotated[
    str, Path(pattern="^[0-9]{1,40}$", description="The exchange's ID of the order.", examples=["1079490"])
]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Maximum number of items.")]
IncludeFills = Annotated[
    Literal["fills"] | None,
    Query(
        description="`fills`: add the sums of the fills of each listed order or wallet. All of these fills are read:"
        " keep `limit` and the range small."
    ),
]
StateQuery = Annotated[ReconciliationState, Query(description="State of the orders.")]
CursorText = Annotated[
    str | None,
    Query(min_length=1, max_length=1000, description="`next_cursor` of the previous page; repeat its parameters."),
]
TimeFieldQuery = Annotated[
    TimeField,
    Query(
        description="The time that the range applies to: `started` (start of the order, or its first event if the start"
        " is unknown), `ended` (terminal event) or `updated` (last event)."
    ),
]
SortQuery = Annotated[
    Sort,
    Query(
        description="`twap_id`: as a number, highest first; it never changes. `ended`: only ended orders, latest first."
        " `notional`: executed notional, highest first; it needs `start` and `end`."
    ),
]
SideFilter = Annotated[Literal["A", "B"] | None, Query(description="B = buy, A = sell (ask).")]
MarketFilter = Annotated[
    Market | None,
    Query(description="`spot`: the asset begins with `@` or contains `/`. `perp`: every other asset."),
]
MinNotional = Annotated[
    Decimal | None,
    Query(
        ge=0,
        max_digits=40,
        description="Only orders whose executed notional is at least this, in USD. It is 0 until an order ends.",
        examples=["100000"],
    ),
]
_ASSET = (
    Query(min_length=1, max_length=64, description="Only this asset, as the exchange writes it.", examples=["BTC"]),
    AfterValidator(_require_printable),
)
AssetFilter = Annotated[str | None, *_ASSET]
RequiredAsset = Annotated[str, *_ASSET]
StatusFilter = Annotated[
    str | None,
    Query(min_length=1, max_length=64, description="Only items with this status.", examples=["finished"]),
    AfterValidator(_require_printable),
]
HorizonMinutes = Annotated[int, Query(ge=1, le=10_080, description="Minutes after each hour.")]
HorizonsMinutes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=10_080)], ...],
    Query(min_length=1, max_length=10, description="Minutes from now; can be repeated."),
]

_TIMESTAMP_TYPE = (
    BeforeValidator(_parse_timestamp),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}),
)
_DAY_TYPE = (BeforeValidator(_parse_day), WithJsonSchema({"type": "string", "format": "date"}))
_START = Query(
    description="Beginning of the range, inclusive: a day or an RFC 3339 time. Without an offset it is UTC.",
    examples=["2025-08-17"],
)
_END = Query(
    description="End of the range, exclusive: 2026-01-01 for the end of 2025.", examples=["2025-08-24T00:00:00Z"]
)
_START_DAY = Query(description="First UTC day.", examples=["2025-08-17"])
Start = Annotated[datetime | None, *_TIMESTAMP_TYPE, _START]
End = Annotated[datetime | None, *_TIMESTAMP_TYPE, _END]
RequiredStart = Annotated[datetime, *_TIMESTAMP_TYPE, _START]
RequiredEnd = Annotated[datetime, *_TIMESTAMP_TYPE, _END]
StartDay = Annotated[date | None, *_DAY_TYPE, _START_DAY]
RequiredStartDay = Annotated[date, *_DAY_TYPE, _START_DAY]
EndDay = Annotated[
    date | None,
    *_DAY_TYPE,
    Query(description="Day after the last UTC day: the end is exclusive.", examples=["2025-09-01"]),
]


async def require_known_parameters(request: Request) -> None:
    """Refuse a query parameter that the route does not have, and one that is repeated although it has one value.

    Without this check a misspelled filter would be ignored, and the response would not be filtered.

    Raises:
        RequestValidationError: 422; the message contains the known parameters.
    """
    fields = request.scope["route"].dependant.query_params
    known = {field.alias: get_origin(field.field_info.annotation) in (list, tuple) for field in fields}
    errors = []
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            errors.append((name, _describe_unknown(name, list(known))))
        elif count > 1 and not known[name]:
            errors.append((name, f"has one value, but the request contains {count}"))
    if errors:
        raise RequestValidationError([{"loc": ("query", name), "msg": message} for name, message in errors])


def _describe_unknown(name: str, known: Sequence[str]) -> str:
    similar = get_close_matches(name.lower(), known, n=1)
    suggestion = f"; did you mean `{similar[0]}`?" if similar else "."
    return f"is not a parameter of this route{suggestion} Its parameters: {', '.join(known) or 'none'}."


def require_start_before_end(start: date | None, end: date | None) -> None:
    """Refuse a range whose end is before its start.

    Raises:
        ProblemError: 400.
    """
    if start is not None and end is not None and end < start:
        raise ProblemError(Problem(400, "Invalid range", "`end` must not be before `start`."))


def require_days_at_most(start: date, end: date, days_max: int) -> None:
    """Refuse a range of days that is reversed or longer than ``days_max``.

    Raises:
        ProblemError: 400.
    """
    require_start_before_end(start, end)
    if end - start > timedelta(days=days_max):
        raise ProblemError(Problem(400, "Range too long", f"The range must not exceed {days_max} days."))
