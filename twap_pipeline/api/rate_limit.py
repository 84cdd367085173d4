"""The rate limit: one token bucket per client, in this process.

Each server process has its own buckets. A limit across processes belongs in the reverse proxy.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

_CLIENTS_MAX = 10_000
"""Maximum number of buckets; the bucket that was unused for the longest time is removed first."""


class RateLimit:
    """Token buckets with a capacity of one minute's requests, in a burst or evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, client: str) -> float:
        """Remove one token from a client's bucket and return 0; return the seconds until a token if it is empty."""
        now = self._clock()
        tokens, updated_at = self._buckets.pop(client, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - updated_at) * self._per_second)
        is_allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if is_allowed else tokens, now)
        if len(self._buckets) > _CLIENTS_MAX:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1 - tokens) / self._per_second
