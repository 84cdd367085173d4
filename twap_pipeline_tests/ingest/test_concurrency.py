"""Concurrent work on objects: results in order, within limits, and cancellation of all threads."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import LoadCancelledError, SourceError
from twap_pipeline.ingest.concurrency import (
    MAX_IN_FLIGHT_BYTES,
    MAX_IN_FLIGHT_OBJECTS,
    LoadLimits,
    bounded_map,
)
from twap_pipeline.source.object_file import ObjectFile
from twap_pipeline.source.parquet import BATCH_ROWS

pytestmark = pytest.mark.unit


def ref_of(number: int, size_bytes: int = 1) -> ObjectRef:
    return ObjectRef(f"{number:03}", "etag", datetime(2026, 1, 1, tzinfo=UTC), size_bytes)


REFS = [ref_of(number) for number in range(100)]


class ConcurrencyCounter:
    """Counts how many threads are inside at once, and the maximum."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = self.maximum = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            self.maximum = max(self.maximum, self._inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1


def object_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("objects")]


def test_results_are_in_the_order_of_the_objects() -> None:
    second_done = threading.Event()

    def work(ref: ObjectRef) -> str:
        if ref.key == "000":
            assert second_done.wait(10)
        if ref.key == "001":
            second_done.set()
        return ref.key

    assert list(bounded_map(work, REFS, LoadLimits(1))) == [ref.key for ref in REFS]
    assert object_threads() == []


def test_no_objects_give_no_results() -> None:
    assert list(bounded_map(lambda ref: ref, [], LoadLimits(1))) == []


def test_objects_in_flight_reach_the_limit_exactly() -> None:
    counter, together = ConcurrencyCounter(), threading.Barrier(MAX_IN_FLIGHT_OBJECTS)

    def work(_: ObjectRef) -> None:
        with counter:
            together.wait(10)  # times out unless so many threads arrive

    list(bounded_map(work, REFS[: 3 * MAX_IN_FLIGHT_OBJECTS], LoadLimits(1)))

    assert counter.maximum == MAX_IN_FLIGHT_OBJECTS


def test_listing_advances_only_with_free_capacity() -> None:
    listed: list[str] = []

    def refs() -> Iterator[ObjectRef]:
        for ref in REFS:
            listed.append(ref.key)
            yield ref

    first = next(bounded_map(lambda ref: ref.key, refs(), LoadLimits(1)))

    assert first == "000"
    assert len(listed) == MAX_IN_FLIGHT_OBJECTS + 1


@pytest.mark.parametrize(
    ("size_bytes", "maximum"),
    [(MAX_IN_FLIGHT_BYTES + 1, 1), (MAX_IN_FLIGHT_BYTES // 2, 2), (MAX_IN_FLIGHT_BYTES // 3, 3)],
)
def test_bytes_in_flight_are_bounded(size_bytes: int, maximum: int) -> None:
    counter = ConcurrencyCounter()

    def work(_: ObjectRef) -> None:
        with counter:
            threading.Event().wait(0.001)

    list(bounded_map(work, [ref_of(number, size_bytes) for number in range(12)], LoadLimits(8)))

    assert 1 <= counter.maximum <= maximum


def test_cancelled_load_ends_its_download() -> None:
    limits = LoadLimits(1)

    with ObjectFile(10, limits.raise_if_cancelled) as file:
        file.write(b"12")
        limits.cancel()
        with pytest.raises(LoadCancelledError):
            file.write(b"34")

    assert file.bytes_written == 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_concurrent_writes_reach_the_write_slots_exactly(count: int) -> None:
    limits, counter, together = LoadLimits(count), ConcurrencyCounter(), threading.Barrier(count)

    def work(_: ObjectRef) -> None:
        with limits.write_slot(), counter:
            together.wait(10)

    multiple_of_slots = MAX_IN_FLIGHT_OBJECTS // count * count  # otherwise the last thread waits alone
    list(bounded_map(work, REFS[:multiple_of_slots], limits))

    assert counter.maximum == count


def test_decoded_objects_are_bounded_by_the_write_slots() -> None:
    """While an object waits for its write slot, its rows are in memory."""
    limits, counter = LoadLimits(2), ConcurrencyCounter()

    def work(_: ObjectRef) -> None:
        with limits.decode_slot(), counter, limits.write_slot():
            threading.Event().wait(0.001)

    list(bounded_map(work, REFS[:30], limits))

    assert counter.maximum <= 3


@pytest.mark.parametrize(
    ("write_slots", "max_memory_mb", "batch_rows"), [(2, 1000, BATCH_ROWS), (8, 1000, 6_250), (8, 600, 2_083)]
)
def test_batches_shrink_with_memory_and_write_slots(write_slots: int, max_memory_mb: int, batch_rows: int) -> None:
    limits = LoadLimits(write_slots, max_memory_mb * 1_000_000)

    assert limits.batch_rows == batch_rows


def raise_value_error() -> None:
    raise ValueError("by the test")


def raise_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("fault", "kind"), [(raise_value_error, ValueError), (raise_interrupt, KeyboardInterrupt)])
def test_error_cancels_other_loads_and_ends_all_threads(fault: Callable[[], None], kind: type[BaseException]) -> None:
    limits, started, cancelled = LoadLimits(1), [], []

    def work(ref: ObjectRef) -> None:
        started.append(ref.key)
        if ref.key == "002":
            fault()
        try:
            while ref.key > "002":
                limits.raise_if_cancelled()
        except LoadCancelledError:
            cancelled.append(ref.key)
            raise

    with pytest.raises(kind):
        list(bounded_map(work, REFS, limits))

    assert object_threads() == []
    assert set(cancelled) == {key for key in started if key > "002"}
    assert len(started) < MAX_IN_FLIGHT_OBJECTS + 3


def test_closing_the_generator_ends_all_threads() -> None:
    limits = LoadLimits(1)
    results = bounded_map(lambda ref: ref.key, REFS, limits)

    assert next(results) == "000"
    results.close()

    assert object_threads() == []
    with pytest.raises(LoadCancelledError):
        limits.raise_if_cancelled()


def test_interrupt_while_running_work_ends_is_raised_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second interrupt must not leave a thread that uses a connection of an engine that the caller disposes."""
    limits, second_started = LoadLimits(1), threading.Event()
    cancelled: list[str] = []
    wait_for_end = Future.exception
    interrupts = [KeyboardInterrupt("second")]

    def work(ref: ObjectRef) -> str:
        if ref.key == "000":
            second_started.wait(10)
            raise SourceError("by the test")  # in-flight work is finished
        second_started.set()
        for _ in range(5_000):  # at least five seconds without the interrupt, which cancels the work
            try:
                limits.raise_if_cancelled()
            except LoadCancelledError:
                cancelled.append(ref.key)
                raise
            threading.Event().wait(0.001)
        return ref.key

    def interrupt_once(future: "Future[str]", timeout: float | None = None) -> BaseException | None:
        if interrupts:
            raise interrupts.pop()
        return wait_for_end(future, timeout)

    monkeypatch.setattr(Future, "exception", interrupt_once)
    with pytest.raises(KeyboardInterrupt, match="second"):
        list(bounded_map(work, REFS[:2], limits))

    assert cancelled == ["001"]
    assert object_threads() == []


def test_write_slot_is_released_after_an_error() -> None:
    limits = LoadLimits(1)
    with pytest.raises(ValueError, match="by the test"), limits.write_slot():
        raise_value_error()

    with limits.write_slot():
        pass


def test_write_slot_raises_after_cancellation() -> None:
    limits = LoadLimits(1)
    limits.cancel()

    with pytest.raises(LoadCancelledError), limits.write_slot():
        pytest.fail("entered")
