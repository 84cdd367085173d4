"""The routes on orders: the list of orders, and one order with its events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Row

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.pagination import ORDER_CURSORS, FillCursor, HistoryCursor
from twap_pipeline.api.parameters import (
    LIMIT_MAX,
    RANGE_DAYS_MAX,
    AssetFilter,
    CursorText,
    End,
    IncludeFills,
    Limit,
    MarketFilter,
    MinNotional,
    SideFilter,
    SortQuery,
    Start,
    StatusFilter,
    TimeFieldQuery,
    TwapIdPath,
    WalletsFilter,
    require_days_at_most,
    require_start_before_end,
)
from twap_pipeline.api.queries.events import order_events
from twap_pipeline.api.queries.fills import order_fills
from twap_pipeline.api.queries.order_list import OrderFilter, Sort, order_page
from twap_pipeline.api.queries.orders import orders_with_id
from twap_pipeline.api.responses import json_array, json_response
from twap_pipeline.api.routes import V2
from twap_pipeline.api.schemas.orders import Fills, OrderHistory, Orders
from twap_pipeline.api.schemas.problems import ProblemBody
from twap_pipeline.api.state import AppState, state_of

router = APIRouter(prefix=f"{V2}/orders", tags=["orders"])

UNKNOWN_ORDER = Problem(404, "Unknown order", "The data do not contain this order; see /api/v2/coverage for gaps.")

UNBOUNDED_RANGE = Problem(
    400,
    "Range too long",
    f"Pass `start` and `end`, at most {RANGE_DAYS_MAX} days apart: a range of all wallets, and `sort=notional`, read"
    " every order of the range. Or pass `wallet`.",
)


@router.get("", response_model=Orders)
async def list_orders(
    request: Request,
    *,
    wallet: WalletsFilter = [],  # noqa: B006  # FastAPI copies it
    asset: AssetFilter = None,
    side: SideFilter = None,
    status: StatusFilter = None,
    market: MarketFilter = None,
    min_notional: MinNotional = None,
    time_field: TimeFieldQuery = "started",
    start: Start = None,
    end: End = None,
    sort: SortQuery = "twap_id",
    include: IncludeFills = None,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """List the orders of all wallets, or of up to 50, each with its current status.

    Orders are sorted by `twap_id` as a number, newest first. This key never changes: each order that exists when the
    first page is read is on exactly one page, if it still matches the filters when that page is read. With another
    `sort`, an order whose end or notional changes between two pages can be repeated or missing.

    A range without `wallet`, and `sort=notional`, need `start` and `end` at most 31 days apart; `sort=ended` with a
    range on `ended` or `updated` does not. Other pages read at most 10,000 orders for those that match the filters: a
    page can have fewer items than `limit`, or none. Continue until `next_cursor` is null.
    """
    require_start_before_end(start, end)
    selection = OrderFilter(
        wallets=tuple(dict.fromkeys(wallet)),
        asset=asset,
        side=side,
        status=status,
        market=market,
        min_notional=min_notional,
        time_field=time_field,
        start=start,
        end=end,
    )
    if not selection.is_in_key_order(sort):
        _require_bounded_range(start, end)
    after = ORDER_CURSORS[sort].decode(cursor).key if cursor else None
    page_query = order_page(selection, sort=sort, after=after, limit=limit + 1, with_fills=include == "fills")
    rows = await state_of(request).fetch_all(*page_query)
    items = [row for row in rows[:limit] if row.body is not None]
    values = {"orders": None, "next_cursor": _next_cursor(rows, items, sort)}
    return json_response(values, orders=json_array(row.body for row in items))


def _require_bounded_range(start: datetime | None, end: datetime | None) -> None:
    if start is None or end is None:
        raise ProblemError(UNBOUNDED_RANGE)
    require_days_at_most(start, end, RANGE_DAYS_MAX)


def _next_cursor(rows: Sequence[Row[Any]], items: Sequence[Row[Any]], sort: Sort) -> str | None:
    """Return the cursor after the last item, or after the last order that was read; None on the last page."""
    cursor_type = ORDER_CURSORS[sort]
    if len(rows) > len(items) and items:
        return cursor_type.of(items[-1]).encode()
    return cursor_type.of(rows[0], prefix="cut_").encode() if rows[0].cut_digits >= 0 else None


_NOT_FOUND: dict[int | str, dict[str, object]] = {
    404: {"model": ProblemBody, "description": "The data do not contain this order."}
}


@router.get("/{twap_id}", response_model=OrderHistory, responses=_NOT_FOUND)
async def get_order(
    request: Request, twap_id: TwapIdPath, limit: Limit = LIMIT_MAX, cursor: CursorText = None
) -> Response:
    """Return an order with its events, oldest first. Executed sizes are 0 until the terminal event.

    The exchange gives an ID to one order, so `orders` has one item; it is empty until the orders are refreshed after a
    load, and if the data contain only fills of the order. An order has two or three events, so one page contains them
    all. The events of an archived month are in files, not in `events`. `fills` of the order has the sums of its slices,
    their fees, their realized profit, and whether they add up to the executed totals.
    """
    after = HistoryCursor.decode(cursor).key if cursor else None
    state = state_of(request)
    orders = await state.fetch_all(*orders_with_id(twap_id))
    rows = await state.fetch_all(*order_events(twap_id, after=after, limit=limit + 1))
    if not rows and not orders and after is None and not await _has_fills(state, twap_id):
        raise ProblemError(UNKNOWN_ORDER)
    page = rows[:limit]
    is_last_page = not page or page[0].page_count == len(page)
    values = {
        "twap_id": twap_id,
        "orders": None,
        "events": None,
        "next_cursor": None if is_last_page else HistoryCursor.of(page[-1]).encode(),
    }
    return json_response(
        values, orders=json_array(row.body for row in orders), events=json_array(row.body for row in page)
    )


@router.get("/{twap_id}/fills", response_model=Fills, responses=_NOT_FOUND)
async def list_order_fills(
    request: Request, twap_id: TwapIdPath, limit: Limit = 100, cursor: CursorText = None
) -> Response:
    """List the fills of an order (its slices), oldest first, sorted by (`ts`, `trade_id`), which never changes.

    The fills of a day are published on the next day. If several wallets have the ID, `wallet` precedes the key.
    """
    after = FillCursor.decode(cursor).key if cursor else None
    state = state_of(request)
    rows = await state.fetch_all(order_fills(twap_id, after=after, limit=limit + 1))
    if not rows and after is None and not await _is_known(state, twap_id):
        raise ProblemError(UNKNOWN_ORDER)
    page = rows[:limit]
    next_cursor = FillCursor.of(page[-1]).encode() if len(rows) > limit else None
    return json_response({"fills": None, "next_cursor": next_cursor}, fills=json_array(row.body for row in page))


async def _has_fills(state: AppState, twap_id: str) -> bool:
    return bool(await state.fetch_all(order_fills(twap_id, after=None, limit=1)))


async def _is_known(state: AppState, twap_id: str) -> bool:
    statements = (orders_with_id(twap_id), order_events(twap_id, after=None, limit=1))
    return any([await state.fetch_all(*statement) for statement in statements])
