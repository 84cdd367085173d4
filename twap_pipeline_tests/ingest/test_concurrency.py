"""Objects at once: results in order, within bounds, no more written than there are limits, and an end for all."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.ingest.concurrency import (
    MAX_IN_FLIGHT_BYTES,
    MAX_IN_FLIGHT_OBJECTS,
    LoadCancelledError,
    LoadLimits,
    bounded_map,
)

pytestmark = pytest.mark.unit


def ref_of(number: int, size_bytes: int = 1) -> ObjectRef:
    return ObjectRef(f"{number:03}", "etag", datetime(2026, 1, 1, tzinfo=UTC), size_bytes)


REFS = [ref_of(number) for number in range(100)]


class Crowd:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1


def threads_of_objects() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("objects")]


def test_results_come_in_the_objects_order_whatever_is_done_first() -> None:
    second_done = threading.Event()

    def work(ref: ObjectRef) -> str:
        if ref.key == "000":
            assert second_done.wait(10)
        if ref.key == "001":
            second_done.set()
        return ref.key

    assert list(bounded_map(work, REFS, LoadLimits(1))) == [ref.key for ref in REFS]
    assert threads_of_objects() == []


def test_no_objects_are_no_results() -> None:
    assert list(bounded_map(lambda ref: ref, [], LoadLimits(1))) == []


def test_as_many_objects_as_may_are_under_way_and_no_more() -> None:
    crowd, together = Crowd(), threading.Barrier(MAX_IN_FLIGHT_OBJECTS)

    def work(_: ObjectRef) -> None:
        with crowd:
            together.wait(10)  # an error, unless so many are here at once

    list(bounded_map(work, REFS[: 3 * MAX_IN_FLIGHT_OBJECTS], LoadLimits(1)))

    assert crowd.most == MAX_IN_FLIGHT_OBJECTS


def test_no_more_is_listed_than_there_is_room_for() -> None:
    listed: list[str] = []

    def refs() -> Iterator[ObjectRef]:
        for ref in REFS:
            listed.append(ref.key)
            yield ref

    first = next(bounded_map(lambda ref: ref.key, refs(), LoadLimits(1)))

    assert first == "000"
    assert len(listed) == MAX_IN_FLIGHT_OBJECTS + 1


@pytest.mark.parametrize(
    ("size_bytes", "most"), [(MAX_IN_FLIGHT_BYTES + 1, 1), (MAX_IN_FLIGHT_BYTES // 2, 2), (MAX_IN_FLIGHT_BYTES // 3, 3)]
)
def test_the_bytes_under_way_are_bounded(size_bytes: int, most: int) -> None:
    crowd = Crowd()

    def work(_: ObjectRef) -> None:
        with crowd:
            threading.Event().wait(0.001)

    list(bounded_map(work, [ref_of(number, size_bytes) for number in range(12)], LoadLimits(8)))

    assert 1 <= crowd.most <= most


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_more_objects_are_written_at_once_than_there_are_lanes(count: int) -> None:
    limits, crowd, together = LoadLimits(count), Crowd(), threading.Barrier(count)

    def work(_: ObjectRef) -> None:
        with limits.write_slot(), crowd:
            together.wait(10)

    all_under_way = (
        MAX_IN_FLIGHT_OBJECTS // count * count
    )  # else the last ones, if a lane is never theirs, lack company
    list(bounded_map(work, REFS[:all_under_way], limits))

    assert crowd.most == count


def raise_value_error() -> None:
    raise ValueError("this one fails")


def raise_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("fault", "kind"), [(raise_value_error, ValueError), (raise_interrupt, KeyboardInterrupt)])
def test_an_error_ends_the_others_and_all_threads(fault: Callable[[], None], kind: type[BaseException]) -> None:
    limits, begun, given_up = LoadLimits(1), [], []

    def work(ref: ObjectRef) -> None:
        begun.append(ref.key)
        if ref.key == "002":
            fault()
        try:
            while ref.key > "002":
                limits.raise_if_cancelled()
        except LoadCancelledError:
            given_up.append(ref.key)
            raise

    with pytest.raises(kind):
        list(bounded_map(work, REFS, limits))

    assert threads_of_objects() == []
    assert set(given_up) == {key for key in begun if key > "002"}
    assert len(begun) < MAX_IN_FLIGHT_OBJECTS + 3


def test_a_caller_that_stops_listening_ends_all_threads() -> None:
    limits = LoadLimits(1)
    results = bounded_map(lambda ref: ref.key, REFS, limits)

    assert next(results) == "000"
    results.close()  # type: ignore[attr-defined]  # a generator

    assert threads_of_objects() == []
    with pytest.raises(LoadCancelledError):
        limits.raise_if_cancelled()


def test_a_lane_is_free_again_after_an_error() -> None:
    limits = LoadLimits(1)
    with pytest.raises(ValueError, match="this one fails"), limits.write_slot():
        raise_value_error()

    with limits.write_slot():
        pass


def test_nobody_enters_a_lane_after_the_end() -> None:
    limits = LoadLimits(1)
    limits.cancel()

    with pytest.raises(LoadCancelledError), limits.write_slot():
        pytest.fail("entered")
