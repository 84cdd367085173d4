"""The routes on a wallet's orders and events, and on the history of one order."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Row

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.pagination import EventCursor, OrderCursor
from twap_pipeline.api.parameters import (
    AssetFilter,
    CursorText,
    End,
    LatestPerTwap,
    Limit,
    Offset,
    Start,
    StatusFilter,
    TimeFieldQuery,
    TwapIdPath,
    WalletQuery,
    require_start_before_end,
)
from twap_pipeline.api.queries.events import EventFilter, order_events, wallet_events, wallet_orders
from twap_pipeline.api.responses import json_array, json_response
from twap_pipeline.api.routes import V1
from twap_pipeline.api.schemas import ProblemBody, TwapHistory, Twaps
from twap_pipeline.api.state import AppState, state_of
from twap_pipeline.exports.csv_format import format_timestamp

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
    time_field: TimeFieldQuery = "event",
    latest_per_twap: LatestPerTwap = True,
    limit: Limit = 100,
    cursor: CursorText = None,
    offset: Offset = 0,
) -> Response:
    """List a wallet's orders or events.

    With `latest_per_twap=true` each item is an order at its latest event in the range. Orders are sorted by `twap_id`
    as a number, newest first. With `latest_per_twap=false` each item is an event. Events are sorted by `latest_ts`,
    latest first.

    Pages follow these keys, which never change. Each order or event that exists when the first page is read is on
    exactly one page, if it still matches the filters when that page is read. An item shows the data as of the read of
    its page: between two pages an order can get a later event, and with it another status. An order or event that is
    loaded between two pages is listed only if its key is after the cursor.
    """
    require_start_before_end(start, end)
    if cursor is not None and offset:
        raise ProblemError(Problem(400, "Cursor and offset", "Pass either `cursor` or `offset`, not both."))
    selection = EventFilter(wallet, start, end, time_field, asset, status)
    read_page = _read_orders if latest_per_twap else _read_events
    rows, next_cursor = await read_page(state_of(request), selection, cursor, limit, offset)
    values = {
        "wallet": wallet,
        "start": format_timestamp(start),
        "end": format_timestamp(end),
        "twaps": None,
        "next_cursor": next_cursor,
    }
    return json_response(values, twaps=json_array(row.body for row in rows))


_Page = tuple[Sequence[Row[Any]], str | None]
"""The rows of a page, and the cursor of the next page."""


async def _read_orders(state: AppState, selection: EventFilter, cursor: str | None, limit: int, offset: int) -> _Page:
    after = OrderCursor.decode(cursor).twap_id if cursor else None
    rows = await state.fetch_all(wallet_orders(selection, after=after, limit=limit + 1, offset=offset))
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], OrderCursor(twap_id=rows[limit - 1].twap_id).encode()


async def _read_events(state: AppState, selection: EventFilter, cursor: str | None, limit: int, offset: int) -> _Page:
    after = EventCursor.decode(cursor).key if cursor else None
    rows = await state.fetch_all(wallet_events(selection, after=after, limit=limit + 1, offset=offset))
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], EventCursor(ts=last.ts, twap_id=last.twap_id).encode()


@router.get(
    "/{twap_id}",
    response_model=TwapHistory,
    responses={404: {"model": ProblemBody, "description": "The data contain no event of this order."}},
)
async def get_order_history(request: Request, twap_id: TwapIdPath) -> Response:
    """Return all events of an order, oldest first. Executed sizes are 0 until the terminal event."""
    rows = await state_of(request).fetch_all(order_events(twap_id))
    if not rows:
        detail = "The data contain no event of this order; see /api/v1/coverage for gaps."
        raise ProblemError(Problem(404, "Unknown order", detail))
    return json_response({"twap_id": twap_id, "events": None}, events=json_array(row.body for row in rows))
