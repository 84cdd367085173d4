"""The routes for operators: liveness, readiness and metrics."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy import String, column, func, select, table
from sqlalchemy.exc import SQLAlchemyError

from twap_pipeline.api.auth import require_key
from twap_pipeline.api.errors import Problem, ProblemError, problem_from_database
from twap_pipeline.api.queries.v1 import last_ingested
from twap_pipeline.api.schemas.health import Health, Readiness
from twap_pipeline.api.schemas.problems import ProblemBody
from twap_pipeline.api.state import state_of
from twap_pipeline.exports.csv_format import format_timestamp
from twap_pipeline.storage.engine.async_engine import fetch_all
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE
from twap_pipeline.storage.schema.oldest_reader import oldest_reader_column
from twap_pipeline.storage.schema.revision_gate import compare_revisions

router = APIRouter(tags=["operations"])

HEALTH_TIMEOUT_SECONDS = 1.0
"""How long `get_health` waits for the database; a liveness probe needs its response."""

_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ProblemBody, "description": "Not ready."}}


@router.get("/healthz")
async def get_health(request: Request) -> Health:
    """Return 200 while the process runs, with the state of the database and the object that was ingested last.

    Without a database within a second, `status` is `degraded`: a restart of this process would not help.
    """
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT_SECONDS):
            rows = await fetch_all(state_of(request).engines["readiness"], last_ingested())
    except TimeoutError:
        return _degraded("no response")
    except SQLAlchemyError as error:
        return _degraded(problem_from_database(error).title)
    key, ingested_at = (rows[0].s3_object_key, rows[0].ingested_at) if rows else (None, None)
    return Health(
        status="healthy", database="connected", last_ingested_object=key, last_ingested_at=format_timestamp(ingested_at)
    )


def _degraded(reason: str) -> Health:
    return Health(status="degraded", database=f"error: {reason}", last_ingested_object=None, last_ingested_at=None)


@router.get("/readyz", responses=_NOT_READY)
async def get_readiness(request: Request) -> Readiness:
    """Return 200 if the database is reachable and this code can read its schema revision."""
    engine = state_of(request).engines["readiness"]
    version_table = select(func.to_regclass(ALEMBIC_VERSION_TABLE).is_not(None), oldest_reader_column())
    exists, oldest_reader = list((await fetch_all(engine, version_table))[0])
    revisions = select(column("version_num", String)).select_from(table(ALEMBIC_VERSION_TABLE))
    status = compare_revisions([row[0] for row in await fetch_all(engine, revisions)] if exists else [], oldest_reader)
    if not status.is_readable:
        raise ProblemError(Problem(503, "Schema not ready", f"The database {status.message}.", 30))
    return Readiness(status="ready", revision=", ".join(status.current))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}},
)
async def get_metrics(request: Request, _key: Annotated[str | None, Depends(require_key)]) -> Response:
    """Return Prometheus metrics of requests, aborted responses and connections; requires a key if keys are set."""
    return Response(state_of(request).metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
