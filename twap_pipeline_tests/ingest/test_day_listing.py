"""Listing of single days by key prefix: which prefixes are listed, and when everything is listed instead."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef
from twap_pipeline.ingest.day_listing import EVERY_KEY, LAYOUTS_MAX, find_layouts, list_days, record_layouts
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.selection import SkippedObjects
from twap_pipeline_tests.factories import DAY

EARLIER = DAY - timedelta(days=100)


class RecordingStore(LocalDirectory):
    """A directory that records the prefixes of its listings."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.directory = directory
        self.prefixes: list[str] = []

    def list_objects(
        self, *, below: str = "", after: str = "", skipped: SkippedObjects | None = None
    ) -> Iterator[ObjectRef]:
        self.prefixes.append(below)
        return super().list_objects(below=below, after=after, skipped=skipped)

    def put(self, *keys: str) -> None:
        for key in keys:
            path = self.directory / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.fixture
def store(tmp_path: Path) -> RecordingStore:
    return RecordingStore(tmp_path)


def list_keys(store: RecordingStore, engine: Engine, *days: date) -> list[str]:
    store.prefixes.clear()
    return [ref.key for refs in list_days(store, engine, days, KEY_DATE_PATTERNS).values() for ref in refs]


def record_slice(store: RecordingStore, engine: Engine, below: str) -> set[str]:
    refs = LocalDirectory(store.directory).list_objects(below=below)
    return record_layouts(engine, store, find_layouts(refs, KEY_DATE_PATTERNS), is_complete=False)


def test_days_without_known_layout_need_a_full_listing(store: RecordingStore, engine: Engine) -> None:
    store.put(f"h/{EARLIER:%Y/%m/%d}/x", f"h/{DAY:%Y/%m/%d}/x", f"d/{DAY}.parquet")

    first = list_keys(store, engine, DAY), store.prefixes.copy()
    second = list_keys(store, engine, DAY), store.prefixes.copy()

    expected = [f"d/{DAY}.parquet", f"h/{DAY:%Y/%m/%d}/x"]
    assert first == (expected, [""])
    assert second == (expected, [f"d/{DAY}", f"h/{DAY:%Y/%m/%d}"])


@pytest.mark.fault("D1")
def test_objects_of_new_layout_are_listed_once_recorded(store: RecordingStore, engine: Engine) -> None:
    """A tick records the layout of a late object before it requests the run."""
    store.put(f"h/{EARLIER:%Y/%m/%d}/x", f"h/{DAY:%Y/%m/%d}/x")
    list_keys(store, engine, DAY)
    store.put(f"h/{EARLIER:%Y/%m/%d}/late", f"new/{EARLIER}/y")
    record_slice(store, engine, "new/")

    assert list_keys(store, engine, EARLIER) == [
        f"h/{EARLIER:%Y/%m/%d}/late",
        f"h/{EARLIER:%Y/%m/%d}/x",
        f"new/{EARLIER}/y",
    ]
    assert "" not in store.prefixes


def test_day_without_objects_in_known_layouts_is_searched(store: RecordingStore, engine: Engine) -> None:
    """A layout that replaces all others is found by the run of its first day."""
    store.put(f"h/{EARLIER:%Y/%m/%d}/x")
    list_keys(store, engine, EARLIER)
    store.put(f"new/{DAY}/x")

    assert list_keys(store, engine, EARLIER, DAY) == [f"h/{EARLIER:%Y/%m/%d}/x", f"new/{DAY}/x"]
    assert store.prefixes[-1] == ""
    assert list_keys(store, engine, DAY) == [f"new/{DAY}/x"]
    assert "" not in store.prefixes


@pytest.mark.fault("D1")
def test_dates_without_leading_zeros_are_not_mixed(store: RecordingStore, engine: Engine) -> None:
    days = [date(2025, month, day) for month in (1, 10, 11) for day in (1, 2, 10, 19, 21)]
    keys = {day: f"raw/year=2025/month={day.month}/day={day.day}/x" for day in days}
    store.put(*keys.values())
    list_keys(store, engine, days[0])

    assert {day: list_keys(store, engine, day) for day in days} == {day: [key] for day, key in keys.items()}
    assert "" not in store.prefixes


def test_keys_without_date_are_listed_as_they_are(store: RecordingStore, engine: Engine) -> None:
    """Their day is that of LastModified. With many of them, everything is listed."""
    store.put(f"h/{DAY:%Y/%m/%d}/x", "a", "ab")
    modified = next(LocalDirectory(store.directory).list_objects(below="a")).last_modified.date()
    list_keys(store, engine, modified)

    assert list_keys(store, engine, modified) == ["a", "ab"]
    assert store.prefixes == ["a", f"h/{modified:%Y/%m/%d}"]

    store.put(*(f"many-{number}" for number in range(LAYOUTS_MAX)))
    assert record_slice(store, engine, "many-") == EVERY_KEY
    assert len(list_keys(store, engine, modified)) == LAYOUTS_MAX + 2
    assert list_keys(store, engine, DAY) == [f"h/{DAY:%Y/%m/%d}/x"]
    assert store.prefixes == [""]


def test_source_with_many_layouts_is_listed_as_a_whole(store: RecordingStore, engine: Engine) -> None:
    store.put(*(f"coin-{number}/{DAY}/x" for number in range(LAYOUTS_MAX + 1)))

    for _ in range(2):
        assert len(list_keys(store, engine, DAY)) == LAYOUTS_MAX + 1
    assert store.prefixes == [""]
    assert list_keys(store, engine, EARLIER) == []
    assert store.prefixes == [""]


def test_layouts_of_a_slice_alone_are_not_recorded(store: RecordingStore, engine: Engine) -> None:
    """Otherwise a run would list by these layouts before the others are known."""
    store.put(f"d/{DAY}/x", f"h/{DAY}/x")

    assert record_slice(store, engine, "d/") == set()
    assert list_keys(store, engine, DAY) == [f"d/{DAY}/x", f"h/{DAY}/x"]


def test_layouts_of_other_source_are_not_used(store: RecordingStore, engine: Engine, tmp_path: Path) -> None:
    other = RecordingStore(tmp_path / "other")
    store.put(f"h/{DAY}/x")
    other.put(f"d/{DAY}/x", f"h/{DAY}/x")
    list_keys(store, engine, DAY)

    assert list_keys(other, engine, DAY) == [f"d/{DAY}/x", f"h/{DAY}/x"]
    assert other.prefixes == [""]
