"""For those who run it: alive, ready, and in figures."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import text

from twap_pipeline.api.auth import require_key
from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.metrics import CONTENT_TYPE
from twap_pipeline.api.schemas import Health, ProblemBody, Readiness
from twap_pipeline.api.state import state_of
from twap_pipeline.storage.engine.async_engine import read
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE

router = APIRouter(tags=["operations"])
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ProblemBody, "description": "Not ready."}}


@router.get("/healthz")
async def health() -> Health:
    """Whether the process answers; asks nothing of the database."""
    return Health(status="ok")


@router.get("/readyz", responses=_NOT_READY)
async def readiness(request: Request) -> Readiness:
    """Whether the database answers and is at the revision that this code needs."""
    state = state_of(request)
    present = text("SELECT to_regclass(:name) IS NOT NULL").bindparams(name=ALEMBIC_VERSION_TABLE)
    recorded = text(f"SELECT version_num FROM {ALEMBIC_VERSION_TABLE}")  # noqa: S608 - our own constant
    engine = state.engines["readiness"]
    exists = (await read(engine, present))[0][0]
    revisions = [str(row[0]) for row in await read(engine, recorded)] if exists else []
    if revisions != [state.head]:
        at = ", ".join(revisions) or "no revision"
        detail = f"The database is at {at}, this code needs {state.head}: run `twap-pipeline migrate`, or deploy."
        raise ProblemError(Problem(503, "Schema not ready", detail, 30))
    return Readiness(status="ready", revision=state.head)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}},
)
async def metrics(request: Request, _key: Annotated[str | None, Depends(require_key)]) -> Response:
    """Requests, seconds, broken responses and connections, for Prometheus; needs a key where keys are asked for."""
    return Response(state_of(request).metrics.render(), media_type=CONTENT_TYPE)
