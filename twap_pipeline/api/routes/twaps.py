"""A wallet's orders in pages, and one order's story."""

from fastapi import APIRouter, Request, Response

from twap_pipeline.api import pagination as cursors
from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.parameters import (
    AssetFilter,
    CursorText,
    End,
    LatestOnly,
    Limit,
    Offset,
    On,
    Start,
    StatusFilter,
    TwapIdPath,
    WalletQuery,
    format_timestamp,
    require_start_before_end,
)
from twap_pipeline.api.queries.events import EventCursor, EventFilter, order_events, wallet_events
from twap_pipeline.api.responses import json_array, json_response
from twap_pipeline.api.routes import V1
from twap_pipeline.api.schemas import ProblemBody, TwapHistory, Twaps
from twap_pipeline.api.state import state_of

router = APIRouter(prefix=f"{V1}/twaps", tags=["orders"])


@router.get("", response_model=Twaps)
async def list_twaps(
    request: Request,
    *,
    wallet: WalletQuery,
    start: Start = None,
    end: End = None,
    asset: AssetFilter = None,
    status: StatusFilter = None,
    time: On = "event",
    latest_per_twap: LatestOnly = True,
    limit: Limit = 100,
    cursor: CursorText = None,
    offset: Offset = 0,
) -> Response:
    """A wallet's orders, each at its latest event in the range, the latest first; or each event of its own.

    With `latest_per_twap=false` every event in the range is an item. Following `next_cursor` gives what was there when
    the first page was read, each event once; what arrives meanwhile stays out.
    """
    require_start_before_end(start, end)
    if cursor is not None and offset:
        raise ProblemError(Problem(400, "Cursor and offset", "Give one of cursor and offset."))
    wanted = EventFilter(wallet, start, end, time, asset, status, latest_per_twap)
    question = {"list": "twaps", "wanted": wanted}
    after = None if cursor is None else cursors.decode_event_cursor(question, cursor)
    rows = await state_of(request).read(wallet_events(wanted, after=after, limit=limit + 1, offset=offset))
    page = rows[:limit]
    more = None
    if len(rows) > limit:
        last = page[-1]
        more = cursors.encode_event_cursor(question, EventCursor(last.ts, last.twap_id, last.bound, last.read_at))
    values = {"wallet": wallet, "start": format_timestamp(start), "end": format_timestamp(end), "twaps": None}
    return json_response({**values, "next_cursor": more}, twaps=json_array(row[0] for row in page))


@router.get(
    "/{twap_id}",
    response_model=TwapHistory,
    responses={404: {"model": ProblemBody, "description": "No event of such an order is in the data."}},
)
async def get_order_history(request: Request, twap_id: TwapIdPath) -> Response:
    """Every event of an order, oldest first. Executed sizes stay 0 until the terminal event."""
    rows = await state_of(request).read(order_events(twap_id))
    if not rows:
        raise ProblemError(
            Problem(404, "Unknown order", "No event of this order is in the data; /api/v1/coverage tells what is.")
        )
    return json_response({"twap_id": twap_id, "rows": None}, rows=json_array(row[0] for row in rows))
