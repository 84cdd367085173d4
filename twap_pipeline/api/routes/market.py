"""All wallets together: what should be running, what it would still execute, and the days gone by."""

from datetime import timedelta

from fastapi import APIRouter, Request, Response

from twap_pipeline.api import pagination as cursors
from twap_pipeline.api.parameters import (
    DAYS_OF_STATS_MAX,
    AssetFilter,
    CursorText,
    Day,
    EndDay,
    Horizons,
    Limit,
    WalletFilter,
    require_days,
)
from twap_pipeline.api.queries.active_orders import GRACE, active_orders, pressure
from twap_pipeline.api.queries.orders import DailyStatsCursor, daily_stats
from twap_pipeline.api.responses import json_array, json_response
from twap_pipeline.api.routes import V1
from twap_pipeline.api.schemas import ActiveOrders, DailyStats, Pressure
from twap_pipeline.api.state import state_of

router = APIRouter(prefix=V1, tags=["market"])

HORIZONS_MINUTES = (5, 15, 60, 240, 1_440)


@router.get("/twaps/active", response_model=ActiveOrders)
async def list_active(
    request: Request, wallet: WalletFilter = None, asset: AssetFilter = None, limit: Limit = 100
) -> Response:
    """Orders that should be running now, those that end first at the top; apart from them the stale ones.

    Remaining sizes are **estimates**: the feed tells executed sizes only when an order ends.
    """
    row = (await state_of(request).read(active_orders(wallet, asset, limit=limit)))[0]
    values = {
        "as_of": row.as_of,
        "data_until": row.data_until,
        "grace_minutes": int(GRACE.total_seconds() // 60),
        "active_count": row.active_count,
        "stale_count": row.stale_count,
        "active": None,
        "stale": None,
        "estimate": "linear",
    }
    return json_response(values, active=row.active, stale=row.stale)


@router.get("/pressure", response_model=Pressure)
async def estimate_pressure(
    request: Request, asset: AssetFilter = None, horizon: Horizons = HORIZONS_MINUTES
) -> Response:
    """**Estimated** net volume that active orders would still execute, by asset and horizon; buys are positive.

    As if every order executed evenly over its duration, at the average price of the order of its asset that ended last.
    """
    row = (await state_of(request).read(pressure(asset, horizon)))[0]
    values = {"as_of": row.as_of, "data_until": row.data_until, "estimate": "linear", "assets": None}
    return json_response(values, assets=row.assets)


@router.get("/stats/daily", response_model=DailyStats)
async def list_daily(
    request: Request,
    *,
    start: Day,
    end: EndDay = None,
    asset: AssetFilter = None,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """Orders by UTC day of their start, asset, side and present status; one day unless `end` is given.

    A quarter of a year at most. Pages follow the keys, so none is left out or doubled; figures are those of the moment
    in which a page is read.
    """
    last = end or start + timedelta(days=1)
    require_days(start, last, DAYS_OF_STATS_MAX)
    question = {"list": "daily", "start": start, "end": last, "asset": asset}
    after = None if cursor is None else cursors.decode_daily_cursor(question, cursor)
    rows = await state_of(request).read(daily_stats(start, last, asset, after=after, limit=limit + 1))
    page = rows[:limit]
    more = None
    if len(rows) > limit:
        at = page[-1]
        more = cursors.encode_daily_cursor(question, DailyStatsCursor(at.day, at.asset, at.side, at.status))
    values = {"start": start.isoformat(), "end": last.isoformat(), "days": None, "next_cursor": more}
    return json_response(values, days=json_array(row[0] for row in page))
