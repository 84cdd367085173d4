"""What an app holds while it serves: engines, limits and counts, put together once by `app.create_app`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncEngine

from twap_pipeline.api.metrics import Metrics
from twap_pipeline.api.rate_limit import RateLimit
from twap_pipeline.storage.engine.async_engine import read


@dataclass(slots=True)
class AppState:
    """An app's means.

    Args:
        key_hashes: Hashes of the keys that open it; open to all when empty.
        rate_limit: The callers' buckets, if they are limited.
        head: The Alembic revision that the code needs.
        engines: By use, while it serves: ``queries``, ``exports`` and ``readiness`` each have their own connections,
            so that slow downloads and floods of queries leave the others theirs.
    """

    key_hashes: Sequence[str]
    rate_limit: RateLimit | None
    head: str
    metrics: Metrics
    engines: dict[str, AsyncEngine] = field(default_factory=dict)

    async def read(self, statement: Executable) -> Sequence[Row[Any]]:
        """Return a query's rows."""
        return await read(self.engines["queries"], statement)


def state_of(request: Request) -> AppState:
    """Return the state of the app that a request came to."""
    state = request.app.state.twap
    if not isinstance(state, AppState):
        raise TypeError("the app was not made by create_app()")
    return state
