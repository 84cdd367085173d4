"""A wallet, added up."""

from fastapi import APIRouter, Request, Response

from twap_pipeline.api.answers import answer
from twap_pipeline.api.parameters import End, Start, WalletPath, require_order, shown_moment
from twap_pipeline.api.routes import V1
from twap_pipeline.api.schemas import WalletSummary
from twap_pipeline.api.state import state_of
from twap_pipeline.storage.queries.orders import wallet_summary

router = APIRouter(prefix=f"{V1}/wallets", tags=["wallets"])

NOT_IN_THIS_FEED = ["fees", "closed profit", "slices"]


@router.get("/{wallet}/summary", response_model=WalletSummary)
async def summarize_wallet(request: Request, wallet: WalletPath, start: Start = None, end: End = None) -> Response:
    """A wallet's orders by asset and side. The range is on each order's last event: for an ended one its end.

    Neither fees nor closed profit are in this feed, so no gain or loss follows from these figures.
    """
    require_order(start, end)
    row = (await state_of(request).read(wallet_summary(wallet, start, end)))[0]
    values = {
        "wallet": wallet,
        "start": shown_moment(start),
        "end": shown_moment(end),
        **row._mapping,
        "not_in_this_feed": NOT_IN_THIS_FEED,
    }
    return answer(values, by_asset=row.by_asset)
