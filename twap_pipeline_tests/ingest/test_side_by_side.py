"""Objects at once: results in order, within bounds, no more written than there are lanes, and an end for all."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.ingest.side_by_side import AHEAD_BYTES, AHEAD_OBJECTS, EndedError, Lanes, side_by_side

pytestmark = pytest.mark.pure


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

    assert list(side_by_side(work, REFS, Lanes(1))) == [ref.key for ref in REFS]
    assert threads_of_objects() == []


def test_no_objects_are_no_results() -> None:
    assert list(side_by_side(lambda ref: ref, [], Lanes(1))) == []


def test_as_many_objects_as_may_are_under_way_and_no_more() -> None:
    crowd, together = Crowd(), threading.Barrier(AHEAD_OBJECTS)

    def work(_: ObjectRef) -> None:
        with crowd:
            together.wait(10)  # an error, unless so many are here at once

    list(side_by_side(work, REFS[: 3 * AHEAD_OBJECTS], Lanes(1)))

    assert crowd.most == AHEAD_OBJECTS


def test_no_more_is_listed_than_there_is_room_for() -> None:
    listed: list[str] = []

    def refs() -> Iterator[ObjectRef]:
        for ref in REFS:
            listed.append(ref.key)
            yield ref

    first = next(side_by_side(lambda ref: ref.key, refs(), Lanes(1)))

    assert first == "000"
    assert len(listed) == AHEAD_OBJECTS + 1


@pytest.mark.parametrize(("size_bytes", "most"), [(AHEAD_BYTES + 1, 1), (AHEAD_BYTES // 2, 2), (AHEAD_BYTES // 3, 3)])
def test_the_bytes_under_way_are_bounded(size_bytes: int, most: int) -> None:
    crowd = Crowd()

    def work(_: ObjectRef) -> None:
        with crowd:
            threading.Event().wait(0.001)

    list(side_by_side(work, [ref_of(number, size_bytes) for number in range(12)], Lanes(8)))

    assert 1 <= crowd.most <= most


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_more_objects_are_written_at_once_than_there_are_lanes(count: int) -> None:
    lanes, crowd, together = Lanes(count), Crowd(), threading.Barrier(count)

    def work(_: ObjectRef) -> None:
        with lanes.one(), crowd:
            together.wait(10)

    all_under_way = AHEAD_OBJECTS // count * count  # else the last ones, if a lane is never theirs, lack company
    list(side_by_side(work, REFS[:all_under_way], lanes))

    assert crowd.most == count


def raise_value_error() -> None:
    raise ValueError("this one fails")


def raise_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("fault", "kind"), [(raise_value_error, ValueError), (raise_interrupt, KeyboardInterrupt)])
def test_an_error_ends_the_others_and_all_threads(fault: Callable[[], None], kind: type[BaseException]) -> None:
    lanes, begun, given_up = Lanes(1), [], []

    def work(ref: ObjectRef) -> None:
        begun.append(ref.key)
        if ref.key == "002":
            fault()
        try:
            while ref.key > "002":
                lanes.go_on()
        except EndedError:
            given_up.append(ref.key)
            raise

    with pytest.raises(kind):
        list(side_by_side(work, REFS, lanes))

    assert threads_of_objects() == []
    assert set(given_up) == {key for key in begun if key > "002"}
    assert len(begun) < AHEAD_OBJECTS + 3


def test_a_caller_that_stops_listening_ends_all_threads() -> None:
    lanes = Lanes(1)
    results = side_by_side(lambda ref: ref.key, REFS, lanes)

    assert next(results) == "000"
    results.close()  # type: ignore[attr-defined]  # a generator

    assert threads_of_objects() == []
    with pytest.raises(EndedError):
        lanes.go_on()


def test_a_lane_is_free_again_after_an_error() -> None:
    lanes = Lanes(1)
    with pytest.raises(ValueError, match="this one fails"), lanes.one():
        raise_value_error()

    with lanes.one():
        pass


def test_nobody_enters_a_lane_after_the_end() -> None:
    lanes = Lanes(1)
    lanes.end()

    with pytest.raises(EndedError), lanes.one():
        pytest.fail("entered")
