"""Routes on the orders of all wallets: active orders, pressure (their estimated remaining volume), daily figures."""

from datetime import timedelta

from fastapi import APIRouter, Request, Response

from twap_pipeline.api.pagination import DailyStatsCursor
from twap_pipeline.api.parameters import (
    STATS_DAYS_MAX,
    AssetFilter,
    CursorText,
    EndDay,
    HorizonsMinutes,
    Limit,
    RequiredStartDay,
    WalletFilter,
    require_days_at_most,
)
from twap_pipeline.api.queries.active_orders import STALE_AFTER, active_orders, pressure
from twap_pipeline.api.queries.orders import daily_stats
from twap_pipeline.api.responses import json_array, json_response
from twap_pipeline.api.routes import V1
from twap_pipeline.api.schemas import ActiveOrders, DailyStats, Pressure
from twap_pipeline.api.state import state_of

router = APIRouter(prefix=V1, tags=["market"])

HORIZONS_MINUTES = (5, 15, 60, 240, 1_440)


@router.get("/twaps/active", response_model=ActiveOrders)
async def list_active_orders(
    request: Request, wallet: WalletFilter = None, asset: AssetFilter = None, limit: Limit = 100
) -> Response:
    """List the orders without a terminal event: active orders by expected end, and separately the stale orders.

    Remaining sizes are **estimates**: the feed reports executed sizes only when an order ends.
    """
    row = (await state_of(request).fetch_all(active_orders(wallet, asset, limit=limit)))[0]
    values = {
        "as_of": row.as_of,
        "data_until": row.data_until,
        "grace_minutes": int(STALE_AFTER.total_seconds() // 60),
        "active_count": row.active_count,
        "stale_count": row.stale_count,
        "active": None,
        "stale": None,
        "estimate_method": "linear",
    }
    return json_response(values, active=row.active, stale=row.stale)


@router.get("/pressure", response_model=Pressure)
async def get_pressure(
    request: Request, asset: AssetFilter = None, horizon: HorizonsMinutes = HORIZONS_MINUTES
) -> Response:
    """Return the **estimated** net volume that active orders would still execute, by asset and horizon.

    Buys are positive. The estimate assumes that each order executes evenly over its duration. The price is the average
    price of the asset's order that ended last.
    """
    row = (await state_of(request).fetch_all(pressure(asset, horizon)))[0]
    values = {"as_of": row.as_of, "data_until": row.data_until, "estimate_method": "linear", "assets": None}
    return json_response(values, assets=row.assets)


@router.get("/stats/daily", response_model=DailyStats)
async def list_daily_stats(
    request: Request,
    *,
    start: RequiredStartDay,
    end: EndDay = None,
    asset: AssetFilter = None,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """List the order totals by UTC day of the orders' start, asset, side and current status.

    The default range is one day; the maximum is 93 days. Pages follow the key (day, asset, side, status), so no row is
    repeated. The totals are as of the read of each page: an order that ends between two pages moves to another status.
    """
    end = end or start + timedelta(days=1)
    require_days_at_most(start, end, STATS_DAYS_MAX)
    after = DailyStatsCursor.decode(cursor).key if cursor else None
    rows = await state_of(request).fetch_all(daily_stats(start, end, asset, after=after, limit=limit + 1))
    page = rows[:limit]
    next_cursor = DailyStatsCursor.of(page[-1]).encode() if len(rows) > limit else None
    values = {"start": start.isoformat(), "end": end.isoformat(), "days": None, "next_cursor": next_cursor}
    return json_response(values, days=json_array(row.body for row in page))
