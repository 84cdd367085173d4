"""The app factory: an app that opens its connections when it starts and closes them when it ends.

The composition root of the API, and its only module that knows the settings.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from sqlalchemy import URL

from twap_pipeline.api import errors
from twap_pipeline.api.auth import enforce_rate_limit
from twap_pipeline.api.metrics import Metrics
from twap_pipeline.api.middleware import RequestLoggingMiddleware
from twap_pipeline.api.openapi import ProblemDetailsFastAPI
from twap_pipeline.api.rate_limit import RateLimit
from twap_pipeline.api.responses import ERROR_RESPONSES
from twap_pipeline.api.routes import coverage, exports, health, market, twaps, wallets, web_ui
from twap_pipeline.api.state import AppState
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.storage.engine.async_engine import make_async_engine
from twap_pipeline.storage.engine.engine import resolve_or_start_database
from twap_pipeline.storage.schema.revision_gate import code_head

POOL_TIMEOUT_SECONDS = 2.0
"""How long a request waits for a connection before it is to_json_value that all are busy."""

EXPORTS_AT_A_TIME = 4

DESCRIPTION = """\
The complete, exact history of Hyperliquid TWAP orders.

**What it cannot tell.** Fees and closed profit are not in this feed, nor are slices: an order has an event when it is
activated and one when it ends, and its executed size stays 0 until then. An average price over the whole order can be
had, a price over time cannot. Fields named `estimate_` are estimates.

Decimals are strings, exact to the digit. Times are RFC 3339, UTC, with microseconds. Ranges are half-open: `start` is
inside, `end` is outside. Wallets are read in upper and lower case and to_json_value in lower case.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the app.

    Args:
        settings: Those of the environment when not given, so that ``uvicorn --factory twap_pipeline.api:create_app``
            works.
    """
    chosen = settings or load_settings()
    state = AppState(
        key_hashes=chosen.api_key_hash_list,
        rate_limit=RateLimit(chosen.api_rate_limit_per_minute) if chosen.api_rate_limit_per_minute else None,
        head=code_head(),
        metrics=Metrics(),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        url = resolve_or_start_database(chosen.database_url_text, chosen.home)
        _open(state, url, chosen)
        try:
            yield
        finally:
            for engine in state.engines.values():
                await engine.dispose()

    app = ProblemDetailsFastAPI(
        title="TWAP history",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        docs_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.twap = state
    errors.install(app)
    app.include_router(web_ui.router)
    app.include_router(health.router)
    app.include_router(_data())
    if origins := chosen.api_cors_origin_list:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET"], allow_headers=["Authorization"]
        )
    app.add_middleware(RequestLoggingMiddleware, metrics=state.metrics)
    return app


def _data() -> APIRouter:
    """Return the routes of data, each behind the guard."""
    router = APIRouter(dependencies=[Depends(enforce_rate_limit)], responses=ERROR_RESPONSES)
    for module in (market, twaps, wallets, exports, coverage):
        router.include_router(module.router)
    return router


def _open(state: AppState, url: URL, settings: Settings) -> None:
    """Give each use an engine of its own; connections are made when they are needed."""
    sizes = {"queries": settings.api_pool_size, "exports": EXPORTS_AT_A_TIME, "readiness": 1}
    for use, size in sizes.items():
        state.engines[use] = make_async_engine(
            url,
            pool_size=size,
            pool_timeout_seconds=POOL_TIMEOUT_SECONDS,
            statement_timeout_seconds=settings.api_statement_timeout_seconds,
        )
        state.metrics.register_pool(use, state.engines[use])
