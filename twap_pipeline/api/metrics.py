"""Prometheus metrics, in one registry per app.

The label ``route`` is the route's template, so the number of label values is bounded and no wallet is in the metrics.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "twap_api_requests", "Requests that ended.", ["route", "status"], registry=self._registry
        )
        self.duration_seconds = Histogram(
            "twap_api_request_duration_seconds",
            "Seconds until the last byte of the response.",
            ["route"],
            buckets=_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "twap_api_requests_in_progress", "Requests without a complete response.", registry=self._registry
        )
        self.aborted = Counter(
            "twap_api_responses_aborted", "Responses that were not completed.", ["route"], registry=self._registry
        )
        self._pool = Gauge(
            "twap_api_pool_connections", "Database connections.", ["pool", "state"], registry=self._registry
        )

    def register_pool(self, name: str, engine: AsyncEngine) -> None:
        """Report the size of an engine's pool and its connections in use."""
        pool = engine.sync_engine.pool
        if isinstance(pool, QueuePool):
            self._pool.labels(name, "limit").set_function(pool.size)
            self._pool.labels(name, "in_use").set_function(pool.checkedout)

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)
