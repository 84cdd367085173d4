"""The state of a running app: engines, rate limit, metrics, and the slots that limit concurrent queries.

A request that gets no slot in time is refused with 503. `app.create_app` builds the state.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncEngine

from twap_pipeline.api.errors import BUSY, ProblemError
from twap_pipeline.api.metrics import Metrics
from twap_pipeline.api.rate_limit import RateLimit
from twap_pipeline.storage.engine.async_engine import fetch_all


@dataclass(slots=True)
class AppState:
    """The state of one app.

    Args:
        key_hashes: Hashes of the valid API keys; if empty, no key is required.
        rate_limit: None if requests are not limited.
        metrics: The app's metrics.
        query_slots: One per connection of the engine ``queries``. It serves waiting requests in their order; the pool
            does not: it gives a free connection to a new request first.
        query_slot_timeout_seconds: Maximum wait for a slot.
        engines: ``queries``, ``exports`` and ``readiness``, each with its own pool; empty before startup.
    """

    key_hashes: Sequence[str]
    rate_limit: RateLimit | None
    metrics: Metrics
    query_slots: asyncio.Semaphore
    query_slot_timeout_seconds: float
    engines: dict[str, AsyncEngine] = field(default_factory=dict)

    async def fetch_all(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """Return the rows of a statement, executed on the engine ``queries``.

        Raises:
            ProblemError: 503, all connections were in use until the timeout.
        """
        try:
            await asyncio.wait_for(self.query_slots.acquire(), self.query_slot_timeout_seconds)
        except TimeoutError:
            raise ProblemError(BUSY) from None
        try:
            return await fetch_all(self.engines["queries"], statement, parameters)
        finally:
            self.query_slots.release()


def state_of(request: Request) -> AppState:
    """Return the state of the request's app."""
    state: AppState = request.app.state.twap
    return state
