"""Figures for Prometheus, in a registry of each app's own.

Routes are labelled by their template, never by a path as it came: labels stay few, and no wallet is in them.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Metrics:
    """What is counted of an app's requests."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("twap_api_requests", "Requests answered.", ["route", "status"], registry=self._registry)
        self.seconds = Histogram(
            "twap_api_request_duration_seconds",
            "Seconds until the last byte.",
            ["route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.running = Gauge("twap_api_requests_in_progress", "Requests under way.", registry=self._registry)
        self.broken = Counter(
            "twap_api_responses_aborted", "Responses that ended before their end.", ["route"], registry=self._registry
        )
        self._pool = Gauge(
            "twap_api_pool_connections", "Database connections.", ["pool", "state"], registry=self._registry
        )

    def register_pool(self, name: str, engine: AsyncEngine) -> None:
        """Show how many of an engine's connections are in use, each time somebody looks."""
        pool = engine.sync_engine.pool
        if isinstance(pool, QueuePool):
            self._pool.labels(name, "limit").set_function(pool.size)
            self._pool.labels(name, "in_use").set_function(pool.checkedout)

    def render(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self._registry)
