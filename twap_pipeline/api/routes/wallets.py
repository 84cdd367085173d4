"""A wallet, added up."""

from fastapi import APIRouter, Request, Response

from twap_pipeline.api.parameters import End, Start, WalletPath, format_timestamp, require_start_before_end
from twap_pipeline.api.queries.orders import wallet_summary
from twap_pipeline.api.responses import json_response
from twap_pipeline.api.routes import V1
from twap_pipeline.api.schemas import WalletSummary
from twap_pipeline.api.state import state_of

router = APIRouter(prefix=f"{V1}/wallets", tags=["wallets"])

UNAVAILABLE_METRICS = ["fees", "closed profit", "slices"]


@router.get("/{wallet}/summary", response_model=WalletSummary)
async def summarize_wallet(request: Request, wallet: WalletPath, start: Start = None, end: End = None) -> Response:
    """A wallet's orders by asset and side. The range is on each order's last event: for an ended one its end.

    Neither fees nor closed profit are in this feed, so no gain or loss follows from these figures.
    """
    require_start_before_end(start, end)
    row = (await state_of(request).read(wallet_summary(wallet, start, end)))[0]
    values = {
        "wallet": wallet,
        "start": format_timestamp(start),
        "end": format_timestamp(end),
        **row._mapping,
        "unavailable_metrics": UNAVAILABLE_METRICS,
    }
    return json_response(values, by_asset=row.by_asset)
