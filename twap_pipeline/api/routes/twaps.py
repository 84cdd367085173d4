"""The routes on a wallet's orders and events, and on the history of one order."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Row

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.pagination import Cursor, EventCursor, HistoryCursor, OrderCursor
from twap_pipeline.api.parameters import (
    LIMIT_MAX,
    AssetFilter,
    CursorText,
    End,
    HistoryLimit,
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

OFFSET_TOO_LARGE = Problem(
    400, "Offset too large", "Too few items match the filters for this `offset`. Pass `cursor` instead of `offset`."
)


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

    A page has fewer items than `limit` if its body reaches 8 MB, or if it has scanned 25,000 events of the wallet for
    items that match the filters; it can be empty. Continue until `next_cursor` is null.
    """
    require_start_before_end(start, end)
    if cursor is not None and offset:
        raise ProblemError(Problem(400, "Cursor and offset", "Pass either `cursor` or `offset`, not both."))
    selection = EventFilter(wallet, start, end, time_field, asset, status)
    read_page = _read_orders if latest_per_twap else _read_events
    bodies, next_cursor = await read_page(state_of(request), selection, cursor, limit, offset)
    values = {
        "wallet": wallet,
        "start": format_timestamp(start),
        "end": format_timestamp(end),
        "twaps": None,
        "next_cursor": next_cursor,
    }
    return json_response(values, twaps=json_array(bodies))


_Page = tuple[list[str], str | None]
"""The bodies of a page as JSON text, and the cursor of the next page."""


async def _read_orders(state: AppState, selection: EventFilter, cursor: str | None, limit: int, offset: int) -> _Page:
    after = OrderCursor.decode(cursor).twap_id if cursor else None
    rows = await state.fetch_all(wallet_orders(selection, after=after, limit=limit + 1, offset=offset))
    return _cut_page(rows, OrderCursor, limit, offset)


async def _read_events(state: AppState, selection: EventFilter, cursor: str | None, limit: int, offset: int) -> _Page:
    after = EventCursor.decode(cursor).key if cursor else None
    rows = await state.fetch_all(wallet_events(selection, after=after, limit=limit + 1, offset=offset))
    return _cut_page(rows, EventCursor, limit, offset)


def _cut_page(rows: Sequence[Row[Any]], cursor_type: type[Cursor], limit: int, offset: int = 0) -> _Page:
    """Return the first ``limit`` bodies, and the cursor after the last one, or after the last scanned event.

    Raises:
        ProblemError: 400, the scan ended before ``offset`` items were skipped.
    """
    items = [row for row in rows[:limit] if row.body is not None]
    bodies = [row.body for row in items]
    if items and items[0].page_count > len(items):
        last = items[-1]
        return bodies, cursor_type.of(last).encode()
    if not rows or not getattr(rows[0], "is_scan_cut", False):
        return bodies, None
    if offset and not items:
        raise ProblemError(OFFSET_TOO_LARGE)
    return bodies, cursor_type.of(rows[0], prefix="scanned_").encode()


@router.get(
    "/{twap_id}",
    response_model=TwapHistory,
    responses={404: {"model": ProblemBody, "description": "The data contain no event of this order."}},
)
async def get_order_history(
    request: Request, twap_id: TwapIdPath, limit: HistoryLimit = LIMIT_MAX, cursor: CursorText = None
) -> Response:
    """Return the events of an order, oldest first. Executed sizes are 0 until the terminal event.

    An order has two or three events, so one page contains them all. `next_cursor` is null on the last page.
    """
    after = HistoryCursor.decode(cursor).key if cursor else None
    rows = await state_of(request).fetch_all(order_events(twap_id, after=after, limit=limit + 1))
    if not rows and after is None:
        detail = "The data contain no event of this order; see /api/v1/coverage for gaps."
        raise ProblemError(Problem(404, "Unknown order", detail))
    bodies, next_cursor = _cut_page(rows, HistoryCursor, limit)
    return json_response({"twap_id": twap_id, "events": None, "next_cursor": next_cursor}, events=json_array(bodies))
