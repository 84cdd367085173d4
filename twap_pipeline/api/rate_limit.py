"""How often one client may ask: a bucket a client, refilled evenly, in this process.

Several server processes each have their own buckets; a limit across them belongs in the proxy before them.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

_CLIENTS_MAX = 10_000
"""Clients remembered; the one that was silent longest is forgotten first."""


class RateLimit:
    """Buckets that hold a minute's requests each.

    Args:
        per_minute: Requests that a client may make a minute, in a burst or evenly.
        clock: Seconds, monotonic.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, client: str) -> float:
        """Take one request from a client's bucket and return 0, or how many seconds until there is one to take."""
        now = self._clock()
        left, at = self._buckets.pop(client, (self._capacity, now))
        left = min(self._capacity, left + (now - at) * self._per_second)
        taken = left >= 1
        self._buckets[client] = (left - 1 if taken else left, now)
        if len(self._buckets) > _CLIENTS_MAX:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - left) / self._per_second
