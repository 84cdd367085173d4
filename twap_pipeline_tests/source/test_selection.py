"""Unit tests of the rule that decides which listed objects are data, and of the counts of the others."""

import logging
from datetime import UTC, datetime

import pytest

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.settings import Settings
from twap_pipeline.source.selection import SkippedObjects, SkipReason, select_objects, skip_reason

pytestmark = pytest.mark.unit

PATTERN = Settings().object_pattern


def ref_of(key: str) -> ObjectRef:
    return ObjectRef(key, "e", datetime(2025, 8, 20, tzinfo=UTC), 1)


@pytest.mark.fault("D9")
@pytest.mark.parametrize(
    "key",
    [
        *("_SUCCESS", ".hidden", "_metadata", "a/.part-0000.parquet.crc", "a/_part.parquet", "a/_committed_17"),
        *("a/_temporary/0/task_1/part-0000.parquet", "_temporary/part-0000.parquet", "a/b/.staging/x.parquet"),
        *("_delta_log/00000000000000000000.json", ".hoodie/x.parquet", "a/.spark-staging-1/date=2025-08-20/x.parquet"),
        *("a/_temporary/", "date=2025-08-20/_year=2025/x.parquet"),
    ],
)
def test_selection_hidden_path_segment_is_skipped(key: str) -> None:
    assert skip_reason(ref_of(f"raw/{key}"), "raw/", PATTERN) is SkipReason.HIDDEN


@pytest.mark.fault("D9")
@pytest.mark.parametrize(
    "key", ["2025/08/20_$folder$", "manifest.json", "x.parquet.bak", "x.parquet.gz", "x.PARQUET", "x.csv", "parquet"]
)
def test_selection_name_outside_the_pattern_is_skipped(key: str) -> None:
    assert skip_reason(ref_of(key), "", PATTERN) is SkipReason.NAME
    assert skip_reason(ref_of(key), "", "*") is None


@pytest.mark.fault("D7")
@pytest.mark.parametrize("key", ["a/", "", "/", "a//", "a/b/"])
def test_selection_directory_marker_is_skipped(key: str) -> None:
    assert skip_reason(ref_of(key), "", "*") is SkipReason.DIRECTORY_MARKER


@pytest.mark.fault("D7", "D9")
@pytest.mark.parametrize(
    "key",
    [
        *("a.parquet", "date=2025-08-20/a.parquet", "year=2025/month=08/day=20/part-0000-x.c000.snappy.parquet"),
        *("a_/b..parquet", "a/b_.parquet", "a//b.parquet", " .parquet", "\u00e9.parquet", "😀.parquet", "%2F.parquet"),
        *("a\ufffd.parquet", "$folder$/a.parquet"),
    ],
)
def test_selection_data_object_is_kept(key: str) -> None:
    assert skip_reason(ref_of(f"_raw/.x/{key}"), "_raw/.x/", PATTERN) is None


@pytest.mark.fault("D9")
def test_selection_counts_by_reason_and_logs_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    skipped = SkippedObjects()
    keys = ["a.parquet", "_S", "b.json", "c/.x", "d/", "f.json", "g.json", "h.json"]

    kept = list(select_objects(map(ref_of, keys), prefix="", name_pattern=PATTERN, skipped=skipped))

    assert [ref.key for ref in kept] == ["a.parquet"]
    assert {reason: len(found) for reason, found in skipped.keys.items()} == {
        SkipReason.HIDDEN: 2,
        SkipReason.NAME: 4,
        SkipReason.DIRECTORY_MARKER: 1,
    }
    assert len(caplog.messages) == 1
    assert "4: name does not match TWAP_OBJECT_PATTERN (b.json, f.json, g.json, …)" in caplog.messages[0]


def test_selection_without_skipped_objects_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert len(list(select_objects([ref_of("a")], prefix="", name_pattern="*", skipped=None))) == 1
    assert caplog.messages == []
