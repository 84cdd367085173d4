"""The route of a wallet's totals."""

from fastapi import APIRouter, Request, Response

from twap_pipeline.api.parameters import End, Start, WalletPath, require_start_before_end
from twap_pipeline.api.queries.orders import wallet_summary
from twap_pipeline.api.responses import json_response
from twap_pipeline.api.routes import V2
from twap_pipeline.api.schemas.wallets import WalletSummary
from twap_pipeline.api.state import state_of
from twap_pipeline.exports.csv_format import format_timestamp

router = APIRouter(prefix=f"{V2}/wallets", tags=["wallets"])

UNAVAILABLE_METRICS = ["fees", "closed profit", "slices"]
"""What a database without fills cannot answer."""


@router.get("/{wallet}/summary", response_model=WalletSummary)
async def get_wallet_summary(request: Request, wallet: WalletPath, start: Start = None, end: End = None) -> Response:
    """Return the totals of a wallet's orders, by asset and side, and by UTC day of the last event.

    The range applies to each order's last event.

    `fills_by_asset` has fees and realized profit of the fills whose own time is in the range, so the years of a wallet
    add up, also with orders across New Year. Its cost grows with the fills of the wallet in the range.
    """
    require_start_before_end(start, end)
    row = (await state_of(request).fetch_all(wallet_summary(wallet, start, end)))[0]
    values = {
        "wallet": wallet,
        "start": format_timestamp(start),
        "end": format_timestamp(end),
        **row._mapping,
        "unavailable_metrics": UNAVAILABLE_METRICS if row.fills_by_asset is None else [],
    }
    return json_response(values, by_asset=row.by_asset, by_day=row.by_day, fills_by_asset=row.fills_by_asset)
