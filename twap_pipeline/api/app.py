"""The app factory: builds the app from the settings and opens and closes its database engines.

This is the only module of the API that reads the settings.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from sqlalchemy import URL
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES

from twap_pipeline.api import errors
from twap_pipeline.api.auth import enforce_rate_limit
from twap_pipeline.api.metrics import Metrics
from twap_pipeline.api.middleware import ETagMiddleware, HeadMiddleware, RequestLoggingMiddleware
from twap_pipeline.api.openapi import ProblemDetailsFastAPI
from twap_pipeline.api.parameters import require_known_parameters
from twap_pipeline.api.rate_limit import RateLimit
from twap_pipeline.api.responses import ERROR_RESPONSES
from twap_pipeline.api.routes import (
    coverage,
    events,
    exports,
    health,
    market,
    orders,
    reconciliation,
    v1,
    wallets,
    web_ui,
)
from twap_pipeline.api.state import AppState
from twap_pipeline.exports.formats import FORMATS
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.storage.engine.async_engine import make_async_engine
from twap_pipeline.storage.engine.engine import resolve_or_start_database
from twap_pipeline.storage.engine.session import use_current_credentials

POOL_TIMEOUT_SECONDS = 2.0
"""Maximum wait of a request for a database connection; then the response is 503."""

EXPORT_POOL_SIZE = 4

GZIP_BYTES_MIN = 10_000
"""Smaller responses are not compressed."""

GZIP_LEVEL = 5

COMPRESSED_TYPES = (*DEFAULT_EXCLUDED_CONTENT_TYPES, FORMATS["parquet"].media_type)
"""Media types that are compressed already."""

DESCRIPTION = """\
The complete, exact history of Hyperliquid TWAP orders.

**Limitations of the data.** The feed of statuses contains no fees, no closed profit and no slices: they are in the
fills, a second feed, which the operator can load. Fields of fills are null if no fills are loaded; see
`/api/v2/reconciliation`. An order has an event when it is activated and one when it ends; its executed size is 0 until
it ends. Fields named `estimate_…` are estimates.

**Formats.** Decimals are strings with every digit; average prices have ten significant digits. Times are RFC 3339 in
UTC with microseconds. Ranges are half-open: `start` is inclusive, `end` is exclusive. Wallets are accepted in upper and
lower case and returned in lower case.

**Versions.** `/api/v2` is this API. `/api/v1` is the contract of the original Hyperliquid TWAP Data Service, whose
`end` is inclusive.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the app.

    Args:
        settings: Default: the settings of the environment, so ``uvicorn --factory twap_pipeline.api:create_app`` works;
            then new connections use the credentials that the environment has at that time.
    """
    is_given = settings is not None
    settings = settings or load_settings()
    state = AppState(
        key_hashes=settings.api_key_hashes,
        rate_limit=RateLimit(settings.api_rate_limit_per_minute) if settings.api_rate_limit_per_minute else None,
        metrics=Metrics(),
        query_slots=asyncio.Semaphore(settings.api_pool_size),
        query_slot_timeout_seconds=POOL_TIMEOUT_SECONDS,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        _open_engines(state, resolve_or_start_database(settings.database_url_text, settings.home), settings)
        if settings.database_url is not None and not is_given:
            for engine in state.engines.values():
                use_current_credentials(engine.sync_engine, lambda: load_settings().database_url_text)
        try:
            yield
        finally:
            for engine in state.engines.values():
                await engine.dispose()

    app = ProblemDetailsFastAPI(
        title="TWAP history",
        version="2",
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        docs_url=None,
        generate_unique_id_function=lambda route: route.name,  # OpenAPI clients name their methods after it
    )
    app.state.twap = state
    errors.install(app)
    app.include_router(web_ui.router)
    app.include_router(health.router)
    app.include_router(_data_router())
    app.add_middleware(ETagMiddleware)
    app.add_middleware(
        GZipMiddleware, minimum_size=GZIP_BYTES_MIN, compresslevel=GZIP_LEVEL, exclude_content_types=COMPRESSED_TYPES
    )
    app.add_middleware(HeadMiddleware)
    if origins := settings.api_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "HEAD"],
            allow_headers=["Authorization", "If-None-Match"],
            expose_headers=["ETag", "Retry-After", "X-Data-Limitations", "X-Request-ID"],
        )
    app.add_middleware(RequestLoggingMiddleware, metrics=state.metrics)
    return app


def _data_router() -> APIRouter:
    """Return the routes that check the API key and the rate limit; those of ``/api/v2`` also check parameter names."""
    router = APIRouter(dependencies=[Depends(enforce_rate_limit)], responses=ERROR_RESPONSES)
    router.include_router(v1.router)
    for module in (orders, events, wallets, exports, market, coverage, reconciliation):
        router.include_router(module.router, dependencies=[Depends(require_known_parameters)])
    return router


def _open_engines(state: AppState, url: URL, settings: Settings) -> None:
    """Create one engine per purpose, so that downloads and slow queries cannot use up the other connections."""
    pool_sizes = {"queries": settings.api_pool_size, "exports": EXPORT_POOL_SIZE, "readiness": 1}
    for name, pool_size in pool_sizes.items():
        state.engines[name] = make_async_engine(
            url,
            pool_size=pool_size,
            pool_timeout_seconds=POOL_TIMEOUT_SECONDS,
            statement_timeout_seconds=settings.api_statement_timeout_seconds,
        )
        state.metrics.register_pool(name, state.engines[name])
