"""Several objects at once: read ahead and made ready by threads, written by so many connections, results in order.

What is held at once is bounded by a number of objects and of their bytes. Here belongs how work is spread over threads
and ended; what is done with an object is ``loading``'s.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Semaphore
from typing import TypeVar

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import SourceError

MAX_IN_FLIGHT_OBJECTS = 8
"""Objects under way at once: those that are written, and those that are read or wait to be written."""

MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
"""Bytes of the objects under way; a larger one goes alone."""

_R = TypeVar("_R")


class LoadCancelledError(Exception):
    """The other objects' work ended, by an error or an interrupt; this one's is given up."""


class LoadLimits:
    """What the objects under way share: so many connections to write by, and the processors.

    Args:
        count: Objects that may be written at once.
    """

    def __init__(self, count: int) -> None:
        self._free = Semaphore(count)
        self._processors = Semaphore(max(1, (os.cpu_count() or 1) - 1))
        self._ended = Event()

    @contextmanager
    def write_slot(self) -> Iterator[None]:
        """Wait for a free lane and keep it for the length of the block."""
        with self._free:
            self.raise_if_cancelled()
            yield

    @contextmanager
    def cpu_slot(self) -> Iterator[None]:
        """Wait for a processor to compute on; one is left to PostgreSQL, whose work is the longer part."""
        with self._processors:
            self.raise_if_cancelled()
            yield

    def cancel(self) -> None:
        """Make whoever asks next whether to go on give up."""
        self._ended.set()

    def raise_if_cancelled(self) -> None:
        """Raise `LoadCancelledError` if the work was ended."""
        if self._ended.is_set():
            raise LoadCancelledError


def bounded_map(work: Callable[[ObjectRef], _R], refs: Iterable[ObjectRef], limits: LoadLimits) -> Iterator[_R]:
    """Yield what the work makes of each object, in their order; others are worked on meanwhile.

    When it raises, or the caller stops, nothing new is begun, and all threads have ended. What is under way is given
    up as soon as it asks its limits; but where only the store failed it goes on to its end, since what was paid for
    can still be written.

    Args:
        work: Called in a thread; asks `limits` for a connection and, in anything long, whether to go on.
        refs: The objects.
        limits: What the work waits for.
    """
    under_way: deque[tuple[int, Future[_R]]] = deque()
    with ThreadPoolExecutor(MAX_IN_FLIGHT_OBJECTS, thread_name_prefix="objects") as threads:
        try:
            for ref in refs:
                while under_way and _is_full(under_way, ref.size_bytes):
                    yield under_way.popleft()[1].result()
                under_way.append((ref.size_bytes, threads.submit(work, ref)))
            while under_way:
                yield under_way.popleft()[1].result()
        except SourceError:
            threads.shutdown(wait=True, cancel_futures=True)
            raise
        except BaseException:  # an interrupt too, and a caller that stops: no thread may outlive this
            limits.cancel()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _is_full(under_way: "deque[tuple[int, Future[_R]]]", size_bytes: int) -> bool:
    return (
        len(under_way) >= MAX_IN_FLIGHT_OBJECTS or sum(size for size, _ in under_way) + size_bytes > MAX_IN_FLIGHT_BYTES
    )
