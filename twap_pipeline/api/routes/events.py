"""The route on the events of all wallets, for clients that follow the feed."""

from fastapi import APIRouter, Request, Response

from twap_pipeline.api.pagination import EventCursor
from twap_pipeline.api.parameters import (
    AssetFilter,
    CursorText,
    End,
    Limit,
    SideFilter,
    Start,
    StatusFilter,
    WalletFilter,
    require_start_before_end,
)
from twap_pipeline.api.queries.events import EventFilter, event_page
from twap_pipeline.api.responses import json_array, json_response
from twap_pipeline.api.routes import V2
from twap_pipeline.api.schemas.orders import Events
from twap_pipeline.api.state import state_of

router = APIRouter(prefix=V2, tags=["events"])


@router.get("/events", response_model=Events)
async def list_events(
    request: Request,
    *,
    wallet: WalletFilter = None,
    asset: AssetFilter = None,
    side: SideFilter = None,
    status: StatusFilter = None,
    start: Start = None,
    end: End = None,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """List the events of all wallets, earliest first, sorted by (`ts`, `twap_id`, `wallet`), which never changes.

    To follow the feed, request `next_cursor` again while `has_more` is false: later events appear after it. An event
    that is loaded late, with a `ts` before the cursor, is not listed: begin again from an earlier `start` after a
    backfill. A page with filters reads at most 10,000 events, so it can be short or empty.
    """
    require_start_before_end(start, end)
    after = EventCursor.decode(cursor).key if cursor else None
    selection = EventFilter(wallet, start, end, asset, side, status)
    rows = await state_of(request).fetch_all(*event_page(selection, after=after, limit=limit + 1))
    items = [row for row in rows[:limit] if row.body is not None]
    next_cursor: str | None
    if items and items[0].page_count > len(items):
        has_more, next_cursor = True, EventCursor.of(items[-1]).encode()
    elif rows:
        has_more, next_cursor = rows[0].is_scan_cut, EventCursor.of(rows[0], prefix="scanned_").encode()
    else:
        has_more, next_cursor = False, cursor
    values = {"events": None, "next_cursor": next_cursor, "has_more": has_more}
    return json_response(values, events=json_array(row.body for row in items))
