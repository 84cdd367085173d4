"""The route of the data coverage."""

from fastapi import APIRouter, Request, Response

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.parameters import (
    COVERAGE_DAYS_MAX,
    EndDay,
    StartDay,
    require_start_before_end,
)
from twap_pipeline.api.queries.coverage import coverage
from twap_pipeline.api.responses import json_response
from twap_pipeline.api.routes import V2
from twap_pipeline.api.schemas.coverage import Coverage
from twap_pipeline.api.state import state_of

router = APIRouter(prefix=V2, tags=["coverage"])

RANGE_TOO_LONG = Problem(
    400,
    "Range too long",
    f"The range must not exceed {COVERAGE_DAYS_MAX} days; a missing `start` or `end` is the first or last day with"
    " objects. Pass both.",
)


@router.get("/coverage", response_model=Coverage)
async def get_coverage(request: Request, start: StartDay = None, end: EndDay = None) -> Response:
    """Return objects and rows by UTC day, failed and parked objects, missing days, and the latest times.

    Check the coverage before you rely on a figure: a day in `missing_days` has no object, and the rows of a failed
    object are missing. So are the fills of a day in `days_without_fills`; those of the last day are published later.
    """
    require_start_before_end(start, end)
    row = (await state_of(request).fetch_all(coverage(start, end, days_max=COVERAGE_DAYS_MAX)))[0]
    values = dict(row._mapping)
    if (values.pop("range_days") or 0) > COVERAGE_DAYS_MAX:
        raise ProblemError(RANGE_TOO_LONG)
    texts = ("missing_days", "days_without_fills", "archived_months", "days")
    return json_response(values, **{name: getattr(row, name) for name in texts})
