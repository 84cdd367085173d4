"""The routes of the reconciliation: whether the fills of each order add up to its executed totals."""

from typing import get_args

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from twap_pipeline.api.pagination import ReconciliationCursor
from twap_pipeline.api.parameters import (
    RANGE_DAYS_MAX,
    CursorText,
    Limit,
    RequiredEnd,
    RequiredStart,
    StateQuery,
    require_days_at_most,
)
from twap_pipeline.api.queries.fills import reconciliation_counts, reconciliation_page
from twap_pipeline.api.responses import json_array, json_response
from twap_pipeline.api.routes import V2
from twap_pipeline.api.schemas.field_types import ReconciliationState
from twap_pipeline.api.schemas.reconciliation import ReconciledOrders, Reconciliation
from twap_pipeline.api.state import state_of
from twap_pipeline.exports.csv_format import format_timestamp
from twap_pipeline.storage.schema.models import twap_fills

router = APIRouter(prefix=f"{V2}/reconciliation", tags=["coverage"])


@router.get("", response_model=Reconciliation)
async def get_reconciliation(request: Request, *, start: RequiredStart, end: RequiredEnd) -> Response:
    """Count the orders whose last event is in the range by state: whether their fills add up to their totals.

    `no_order` counts the fills of unknown orders, by the last fill. The range has at most 31 days; all its orders and
    their fills are read. The tolerances are 0.00000001 coins per order and 0.000001 USD per fill.
    """
    require_days_at_most(start, end, RANGE_DAYS_MAX)
    state = state_of(request)
    counts = {row.state: row.order_count for row in await state.fetch_all(reconciliation_counts(start, end))}
    has_fills = bool(await state.fetch_all(select(twap_fills.c.trade_id).limit(1)))
    values = {
        "start": format_timestamp(start),
        "end": format_timestamp(end),
        "has_fills": has_fills,
        "states": {name: counts.get(name, 0) for name in get_args(ReconciliationState)},
    }
    return json_response(values)


@router.get("/orders", response_model=ReconciledOrders)
async def list_reconciled_orders(
    request: Request,
    *,
    state: StateQuery,
    start: RequiredStart,
    end: RequiredEnd,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """List the orders in a state whose last event is in the range, sorted by (`at`, `twap_id`, `wallet`).

    With `state=no_order`, the fills of unknown orders, by the last fill. The range has at most 31 days. An order that
    changes between two pages can be repeated or missing.
    """
    require_days_at_most(start, end, RANGE_DAYS_MAX)
    after = ReconciliationCursor.decode(cursor).key if cursor else None
    rows = await state_of(request).fetch_all(reconciliation_page(state, start, end, after=after, limit=limit + 1))
    page = rows[:limit]
    next_cursor = ReconciliationCursor.of(page[-1]).encode() if len(rows) > limit else None
    return json_response({"orders": None, "next_cursor": next_cursor}, orders=json_array(row.body for row in page))
