"""Routes on the orders of all wallets: leaderboard, active orders, pressure (their estimated volume), daily figures."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response

from twap_pipeline.api.pagination import DailyStatsCursor
from twap_pipeline.api.parameters import (
    LEADERBOARD_DAYS_MAX,
    RANGE_DAYS_MAX,
    STATS_DAYS_MAX,
    AssetFilter,
    CursorText,
    EndDay,
    HorizonMinutes,
    HorizonsMinutes,
    IncludeFills,
    Limit,
    MarketFilter,
    RequiredAsset,
    RequiredEnd,
    RequiredStart,
    RequiredStartDay,
    WalletFilter,
    require_days_at_most,
)
from twap_pipeline.api.queries.active_orders import STALE_AFTER, active_orders, pressure, pressure_history
from twap_pipeline.api.queries.orders import daily_stats, leaderboard
from twap_pipeline.api.responses import json_array, json_response
from twap_pipeline.api.routes import V2
from twap_pipeline.api.schemas.market import ActiveOrders, DailyStats, Leaderboard, Pressure, PressureHistory
from twap_pipeline.api.state import state_of
from twap_pipeline.exports.csv_format import format_timestamp

router = APIRouter(prefix=V2, tags=["market"])

HORIZONS_MINUTES = (5, 15, 60, 240, 1_440)


@router.get("/leaderboard", response_model=Leaderboard)
async def get_leaderboard(
    request: Request,
    *,
    start: RequiredStart,
    end: RequiredEnd,
    asset: AssetFilter = None,
    market: MarketFilter = None,
    include: IncludeFills = None,
    limit: Limit = 100,
) -> Response:
    """List the wallets with the highest executed notional of the orders whose last event is in the range.

    The range has at most 366 days. All orders of the range are read, so the time of a request grows with the range.
    With `include=fills` it also grows with the fills of the listed wallets in the range, by their own time.
    """
    require_days_at_most(start, end, LEADERBOARD_DAYS_MAX)
    with_fills = include == "fills"
    statement = leaderboard(start, end, asset=asset, market=market, limit=limit, with_fills=with_fills)
    rows = await state_of(request).fetch_all(statement)
    values = {"start": format_timestamp(start), "end": format_timestamp(end), "wallets": None}
    return json_response(values, wallets=json_array(row.body for row in rows))


@router.get("/active", response_model=ActiveOrders)
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


@router.get("/pressure/history", response_model=PressureHistory)
async def list_pressure_by_hour(
    request: Request, *, asset: RequiredAsset, start: RequiredStart, end: RequiredEnd, horizon: HorizonMinutes = 60
) -> Response:
    """List the **estimated** net volume that an asset's orders would have executed after each hour, buys positive.

    It is computed from the complete history as it is now: an order counts from its start until it ended, and is assumed
    to execute evenly over its planned duration. It is not what `/pressure` returned at that hour. The range is widened
    to full hours and has at most 31 days. The price is the average price of the asset's orders that ended on the day.
    """
    require_days_at_most(start, end, RANGE_DAYS_MAX)
    first, last = _floor_hour(start), _floor_hour(end + timedelta(hours=1) - timedelta(microseconds=1))
    rows = await state_of(request).fetch_all(pressure_history(asset, first, last, horizon_minutes=horizon))
    values = {
        "asset": asset,
        "start": format_timestamp(first),
        "end": format_timestamp(last),
        "horizon_minutes": horizon,
        "estimate_method": "linear",
        "hours": None,
    }
    return json_response(values, hours=json_array(row.body for row in rows))


def _floor_hour(timestamp: datetime) -> datetime:
    return timestamp.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


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
