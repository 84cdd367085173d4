"""What the data hold, and what is missing."""

from fastapi import APIRouter, Request, Response

from twap_pipeline.api.parameters import DAYS_OF_COVERAGE_MAX, EndDay, StartDay, require_days, require_start_before_end
from twap_pipeline.api.queries.coverage import coverage
from twap_pipeline.api.responses import json_response
from twap_pipeline.api.routes import V1
from twap_pipeline.api.schemas import Coverage
from twap_pipeline.api.state import state_of

router = APIRouter(prefix=V1, tags=["coverage"])


@router.get("/coverage", response_model=Coverage)
async def get_coverage(request: Request, start: StartDay = None, end: EndDay = None) -> Response:
    """Objects and rows by UTC day of object, failed and parked objects, missing days, and how fresh it all is.

    ListingSlice here before you trust a figure: a day in `missing_days` has no object, a failed object's rows are missing.
    """
    require_start_before_end(start, end)
    if start is not None and end is not None:
        require_days(start, end, DAYS_OF_COVERAGE_MAX)
    row = (await state_of(request).read(coverage(start, end)))[0]
    return json_response(dict(row._mapping), missing_days=row.missing_days, days=row.days)
