"""Concurrent work on several objects: bounded by count and bytes, with results in the objects' order.

Put here how work is distributed over threads and cancelled. What is done with an object belongs in `load`.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Semaphore
from typing import TypeVar

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import LoadCancelledError, SourceError
from twap_pipeline.source.parquet import BATCH_BYTES, BATCH_ROWS

MAX_IN_FLIGHT_OBJECTS = 8
"""Maximum number of objects in flight: being fetched, decoded or written, or waiting for one of these."""

MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
"""Maximum bytes of the objects in flight. A larger object is in flight alone."""

DEFAULT_MAX_MEMORY_BYTES = 1_000_000_000
"""Memory of a process that loads objects, unless the caller has a setting."""

_PROCESS_BYTES = 400_000_000
"""Memory of a process without decoded objects: interpreter, Dagster, polars, and `MAX_IN_FLIGHT_BYTES`."""

_MEMORY_PER_ROW_BYTES = 12_000
"""Memory per row of a batch: columns, JSON and COPY text, of the next batch too, and what the allocator keeps."""

_MEMORY_PER_DECODED_BYTE = 12
"""Memory per byte of a batch's decoded columns, if they are longer than those of the feed."""

_R = TypeVar("_R")


class LoadLimits:
    """Limits that concurrent loads share: write slots, decode slots, and a flag that cancels all loads.

    Args:
        write_slots: Maximum number of objects that are written at once, each by its own connection.
        max_memory_bytes: Memory that the process may use.
    """

    def __init__(self, write_slots: int, max_memory_bytes: int = DEFAULT_MAX_MEMORY_BYTES) -> None:
        decode_slots = min(write_slots + 1, MAX_IN_FLIGHT_OBJECTS)  # the next object is decoded during writes
        slot_bytes = max(0, max_memory_bytes - _PROCESS_BYTES) // decode_slots
        self.batch_rows = max(1, min(BATCH_ROWS, slot_bytes // _MEMORY_PER_ROW_BYTES))
        """Maximum number of rows per batch."""
        self.batch_bytes = max(1, min(BATCH_BYTES, slot_bytes // _MEMORY_PER_DECODED_BYTE))
        """Maximum decoded size of a batch of more than one row."""
        self._write_slots = Semaphore(write_slots)
        self._decode_slots = Semaphore(decode_slots)
        self._cancelled = Event()

    def write_slot(self) -> AbstractContextManager[None]:
        """Return a context that waits for a write slot and occupies it.

        Raises:
            LoadCancelledError: The loads were cancelled. The other slots raise it too.
        """
        return self._occupy(self._write_slots)

    def decode_slot(self) -> AbstractContextManager[None]:
        """Return a context that waits for a decode slot and occupies it: until the decoded object is written."""
        return self._occupy(self._decode_slots)

    @contextmanager
    def _occupy(self, slots: Semaphore) -> Iterator[None]:
        with slots:
            self.raise_if_cancelled()
            yield

    def cancel(self) -> None:
        """Cancel the loads: each raises `LoadCancelledError` at its next checkpoint."""
        self._cancelled.set()

    def raise_if_cancelled(self) -> None:
        """Raise `LoadCancelledError` if the loads were cancelled: a checkpoint."""
        if self._cancelled.is_set():
            raise LoadCancelledError("the load was cancelled: the load of another object failed or was interrupted")


def bounded_map(
    work: Callable[[ObjectRef], _R], refs: Iterable[ObjectRef], limits: LoadLimits
) -> Generator[_R, None, None]:
    """Yield the result of the work per object, in the objects' order, while threads work on the next objects.

    If the work raises an error, or the caller stops, no further object is started and all threads end. In-flight work
    is cancelled at its next checkpoint. After a `SourceError` in-flight work is finished instead: its objects are
    already paid for and can still be written. Long work contains checkpoints of ``limits``.
    """
    in_flight: deque[tuple[int, Future[_R]]] = deque()
    threads = ThreadPoolExecutor(MAX_IN_FLIGHT_OBJECTS, thread_name_prefix="objects")
    cancel = False
    try:
        for ref in refs:
            while in_flight and _is_full(in_flight, ref.size_bytes):
                yield in_flight[0][1].result()
                in_flight.popleft()
            in_flight.append((ref.size_bytes, threads.submit(work, ref)))
        while in_flight:
            yield in_flight[0][1].result()
            in_flight.popleft()
    except SourceError:
        raise
    except BaseException:  # also an interrupt, and a caller that closes the generator
        cancel = True
        raise
    finally:
        _end(threads, [future for _, future in in_flight if not future.cancel()], limits, cancel=cancel)


def _end(threads: ThreadPoolExecutor, running: list[Future[_R]], limits: LoadLimits, *, cancel: bool) -> None:
    """Cancel the running work if requested, and return when it has ended: it uses connections of the caller's engine.

    A further interrupt does not end the wait. It cancels the work and is raised afterwards. This function does not wait
    by `Thread.join`: in Python 3.11, a thread whose join is interrupted counts as ended.
    """
    interrupt: BaseException | None = None
    while True:
        try:
            if cancel:
                limits.cancel()
            while running:
                running[-1].exception()  # returns when the work has ended
                running.pop()
            threads.shutdown()
            break
        except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt, or the error that Dagster's handler raises
            interrupt, cancel = error, True
    if interrupt is not None:
        raise interrupt


def _is_full(in_flight: "deque[tuple[int, Future[_R]]]", size_bytes: int) -> bool:
    return (
        len(in_flight) >= MAX_IN_FLIGHT_OBJECTS or sum(size for size, _ in in_flight) + size_bytes > MAX_IN_FLIGHT_BYTES
    )
