"""``/api/v1``: the contract of the original Hyperliquid TWAP Data Service, row by row, for its clients.

Do not add fields or parameters here: new questions belong to ``/api/v2``. Unlike ``/api/v2``, unknown parameters are
ignored, ranges include their end, and the ``detail`` of a 422 is FastAPI's list of invalid parameters.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator, TypeAdapter
from sqlalchemy import Executable

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.queries.v1 import BYTES_MAX, order_events, wallet_orders
from twap_pipeline.api.responses import json_array, json_response
from twap_pipeline.api.routes import V1
from twap_pipeline.api.schemas.problems import ProblemBody
from twap_pipeline.api.schemas.v1 import ValidationDetail, WalletTwaps, WholeTwap
from twap_pipeline.api.state import state_of

LIMIT_MAX = 5_000

TOO_LARGE = Problem(
    400, "Response too large", f"The response exceeds {BYTES_MAX // 1_000_000} MB. Lower `limit` or narrow the range."
)

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ProblemBody, "description": "The response is too large; lower `limit`."},
    422: {"model": ValidationDetail, "description": "A parameter is missing or not valid."},
}
_TIMESTAMP = TypeAdapter(datetime)


def _as_utc(timestamp: datetime) -> datetime:
    """Return a time without an offset as UTC."""
    return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


_Timestamp = Annotated[
    datetime, AfterValidator(_as_utc), Query(description="ISO 8601; inclusive. Without an offset it is UTC.")
]

router = APIRouter(prefix=f"{V1}/twaps", tags=["v1"], responses=_ERRORS)


@router.get("", response_model=WalletTwaps)
async def get_twaps(
    request: Request,
    *,
    wallet: Annotated[str, Query(description="Any text; an unknown wallet has an empty list.")],
    start: _Timestamp,
    end: _Timestamp,
    asset: Annotated[str | None, Query(description="Only this asset.")] = None,
    latest_per_twap: Annotated[
        bool, Query(description="false: `raw` contains the source rows of all events in the range.")
    ] = True,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Maximum number of orders.")] = 500,
    offset: Annotated[int, Query(ge=0, description="Orders to skip.")] = 0,
) -> Response:
    """List a wallet's orders with an event from `start` to `end`, inclusive, sorted by `twap_id` as text.

    Each order is shown at its latest event in the range. With `latest_per_twap=false`, `raw` is
    `{"latest": …, "all_rows": […]}`. New clients: use `/api/v2/orders`, whose pages do not slow down with `offset`.
    """
    statement = wallet_orders(wallet, start, end, asset, latest_per_twap=latest_per_twap, limit=limit, offset=offset)
    values = {"wallet": wallet, "start": _format(start), "end": _format(end), "twaps": None}
    return json_response(values, twaps=await _read_array(request, statement))


@router.get(
    "/{twap_id}", response_model=WholeTwap, responses={404: {"model": ProblemBody, "description": "Unknown `twap_id`."}}
)
async def get_twap(request: Request, twap_id: Annotated[str, Path(description="Any text.")]) -> Response:
    """Return all events of an order, latest first."""
    rows = await _read_array(request, order_events(twap_id))
    if rows == "[]":
        raise ProblemError(Problem(404, "Unknown order", f"TWAP ID {twap_id} not found"))
    return json_response({"twap_id": twap_id, "rows": None}, rows=rows)


async def _read_array(request: Request, statement: Executable) -> str:
    """Return the bodies as a JSON array.

    Raises:
        ProblemError: 400, the bodies exceed `BYTES_MAX`.
    """
    rows = await state_of(request).fetch_all(statement)
    if rows and rows[0].page_count > len(rows):
        raise ProblemError(TOO_LARGE)
    return json_array(row.body for row in rows)


def _format(timestamp: datetime) -> str:
    """Return a time as Pydantic writes it: with its offset, and without a fraction that is zero."""
    return str(_TIMESTAMP.dump_python(timestamp, mode="json"))
