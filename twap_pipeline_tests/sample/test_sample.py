"""Unit tests of `generate_sample` (atomic, reproducible, correct counts), the object layout and `write_object`."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twap_pipeline import sample
from twap_pipeline.domain.object_ref import day_from_key
from twap_pipeline.domain.status import TERMINAL_STATUSES
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample import generate_sample
from twap_pipeline.sample.edge_cases import NOT_AN_ORDER
from twap_pipeline.sample.manifest import (
    MANIFEST,
    STATUSES,
    WRITE_DELAY_MAX,
    SampleRequest,
    SampleSummary,
    latest_until,
    read_manifest,
    write_manifest,
)
from twap_pipeline.sample.orders import BLOCK_NS
from twap_pipeline_tests.large_object import write_object
from twap_pipeline_tests.sample.sample_reader import (
    EPOCH,
    SMALL,
    microseconds_of,
    objects_of,
    read_sample,
    rows_of,
)

_GENERATE_SMALL = (
    "import datetime, sys; from pathlib import Path; from twap_pipeline.sample import SampleRequest, generate_sample;"
    f"SMALL = SampleRequest({SMALL.until!r}, days=3, orders_per_day=200)"
)


def _state(directory: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(directory)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in objects_of(directory)
    }


def test_sample_has_rows_of_each_outcome(any_size: tuple[Path, SampleSummary]) -> None:
    row_counts, table = read_sample(any_size[0])
    assert row_counts.keys() == {"metadata_rows", "quarantined", "republished", "superseded"}
    assert min(row_counts.values()) > 0
    assert 3 <= row_counts["quarantined"] <= 5
    assert min(twap_id for twap_id, _, _ in table) > NOT_AN_ORDER + 10


def test_generate_other_process_same_bytes(small: tuple[Path, SampleSummary], tmp_path: Path) -> None:
    first = small[0].parent
    call = f"{_GENERATE_SMALL}; generate_sample(Path(sys.argv[1]), SMALL)"
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", call, str(tmp_path / "b")], check=True, env=environment)
    generate_sample(tmp_path / "c", replace(SMALL, seed=2))
    assert _state(first) == _state(tmp_path / "b")
    assert (first / MANIFEST).read_bytes() == (tmp_path / "b" / MANIFEST).read_bytes()
    assert _state(first) != _state(tmp_path / "c")


def test_generate_complete_sample_is_kept_without_polars(tmp_path: Path) -> None:
    """The manifest alone makes a sample complete."""
    summary = SampleSummary({"rows_bad": "key"}, {})
    (tmp_path / "s").mkdir()
    write_manifest(tmp_path / "s", SMALL, summary)
    call = (
        f"{_GENERATE_SMALL}; generate_sample(Path(sys.argv[1]), SMALL);"
        "print({'polars', 'pyarrow', 'numpy', 'pandas'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", call, str(tmp_path / "s")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == "set()\n"
    generate_sample(tmp_path / "s", SMALL)
    assert read_manifest(tmp_path / "s") == (SMALL, summary)
    assert objects_of(tmp_path / "s") == []


def test_generate_in_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")

    with pytest.raises(ConfigurationError, match="set TWAP_HOME to a writable folder"):
        generate_sample(tmp_path / "home" / "sample", SampleRequest(latest_until(datetime.now(UTC))))


def test_generate_interrupted_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample, "write_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            generate_sample(tmp_path / "s", SMALL)
    assert list(tmp_path.iterdir()) == []
    generate_sample(tmp_path / "s", SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_generate_concurrent_first_process_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = sample._write
    first = replace(SMALL, seed=2)

    def write_after_other_process(directory: Path, request: SampleRequest) -> None:
        write(tmp_path / "s", first)
        (tmp_path / "s" / "first").touch()
        write(directory, request)

    monkeypatch.setattr(sample, "_write", write_after_other_process)
    generate_sample(tmp_path / "s", SMALL)
    assert (tmp_path / "s" / "first").exists()
    assert (read_manifest(tmp_path / "s") or [None])[0] == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


@pytest.mark.parametrize("changes", [{"seed": 2}, {"until": SMALL.until + timedelta(hours=30)}])
def test_generate_existing_sample_never_changes(small: tuple[Path, SampleSummary], changes: dict[str, Any]) -> None:
    directory = small[0].parent
    before = _state(directory)

    generate_sample(directory, replace(SMALL, **changes))
    assert _state(directory) == before
    assert read_manifest(directory) == (SMALL, small[1])


def test_generate_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    generate_sample(tmp_path / "s", SMALL)
    assert objects_of(tmp_path / "s") != []


@pytest.mark.parametrize("manifest", [None, "{", "[]", "{}", '{"format": 2, "request": {"days": 14}}'])
def test_generate_files_of_others_are_kept(tmp_path: Path, manifest: str | None) -> None:
    """The manifest of an older format, too: the database can contain the rows of that sample."""
    (tmp_path / "own.parquet").touch()
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(manifest)
    with pytest.raises(ConfigurationError, match="remove it, or set another TWAP_HOME"):
        generate_sample(tmp_path, SMALL)
    assert (tmp_path / "own.parquet").exists()


def test_generate_file_instead_of_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    with pytest.raises(ConfigurationError):
        generate_sample(tmp_path / "s", SMALL)


def test_layout_has_days_hours_parts_and_gaps(full: tuple[Path, SampleSummary]) -> None:
    keys = [str(path.relative_to(full[0])) for path in objects_of(full[0])]
    hour = re.compile(r"hourly/(\d{4})/(\d\d)/(\d\d)/(\d\d)/part-\d{4}\.parquet")
    assert [key for key in keys if not hour.fullmatch(key)] == [
        f"2025/08/{day}/part-0000.parquet" for day in (17, 18, 19, 20, 21, 22, 23, 25, 26)
    ]
    days = {day_from_key(key) for key in keys}
    assert sorted(day.day for day in days if day) == [17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 28, 29, 30]
    hours = Counter(hour.sub(r"\1-\2-\3T\4", key) for key in keys if key.startswith("hourly/2025/08"))
    assert len(hours) == 4 * 24 - 1
    assert Counter(hours.values()).keys() == {1, 2, 3}
    assert 100 <= len(keys) <= 130


def test_objects_contain_events_of_their_period(full: tuple[Path, SampleSummary]) -> None:
    for path in objects_of(full[0]):
        numbers = [int(part) for part in path.relative_to(full[0]).parts[:-1] if part.isdigit()]
        start = datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type, misc]
        end = start + timedelta(days=1) if len(numbers) == 3 else start + timedelta(hours=1)
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        delay = timedelta(hours=6) if path == full[0] / full[1].edge_cases["rows_republished"] else timedelta()
        assert timedelta(minutes=1) < written - end - delay <= WRITE_DELAY_MAX
        times = [row["time"] for row in rows_of(path) if row["time"] and not str(row["time"]).startswith("1970")]
        assert all(start <= EPOCH + timedelta(microseconds=microseconds_of(time)) < end for time in times)


def _shifted_rows(directory: Path, days: int) -> dict[str, tuple[list[dict[str, Any]], float]]:
    """Return key → rows and file time, with every date moved by the days, and block numbers relative to the first."""
    shift = timedelta(days=days)

    def move_text(text: str) -> str:
        return re.sub(r"\d{4}(.)\d\d\1\d\d", lambda match: move_date(match[0], match[1]), text)

    def move_date(text: str, separator: str) -> str:
        moved = date.fromisoformat(text.replace(separator, "-")) + shift
        return text if text.startswith("1970") else moved.isoformat().replace("-", separator)

    def move(name: str, value: Any) -> Any:
        if name == "block_number" and value is not None:
            return value + days * 24 * 3_600 * 1_000_000_000 // BLOCK_NS
        if isinstance(value, int) and name in ("time", "state_timestamp") and value:
            return value + days * 24 * 3_600_000 * 10 ** (len(str(value)) - len("1755388800000"))
        return move_text(value) if name in ("time", "block_time") and isinstance(value, str) else value

    return {
        move_text(str(path.relative_to(directory))): (
            [{name: move(name, value) for name, value in row.items()} for row in rows_of(path)],
            path.stat().st_mtime + shift.total_seconds(),
        )
        for path in objects_of(directory)
    }


def test_generate_other_day_gives_the_sample_shifted(small: tuple[Path, SampleSummary], tmp_path: Path) -> None:
    """Keys, times, block numbers and file times are shifted; everything else is equal."""
    generate_sample(tmp_path / "b", replace(SMALL, until=SMALL.until + timedelta(days=463)))

    assert repr(_shifted_rows(small[0], 463)) == repr(
        _shifted_rows(tmp_path / "b" / STATUSES, 0)
    )  # NaN is not equal to NaN


def test_generate_earlier_hour_gives_a_part_of_the_sample(small: tuple[Path, SampleSummary], tmp_path: Path) -> None:
    """Of two samples of the same days, the later one has all objects of the earlier one, with the same bytes."""
    early = replace(SMALL, until=SMALL.until - timedelta(hours=21))
    generate_sample(tmp_path / "early", early)

    objects = _state(small[0])
    last = {key for key in objects if key >= f"hourly/{early.until:%Y/%m/%d/%H}"}
    assert len(last) >= 20
    assert _state(tmp_path / "early" / STATUSES) == {key: state for key, state in objects.items() if key not in last}


def test_sample_has_open_orders_at_both_ends(full: tuple[Path, SampleSummary]) -> None:
    events = pl.read_parquet(full[0] / "hourly/2025/08/30/23/*.parquet")
    status = pl.col("status")
    ended = events.filter(status.is_in(TERMINAL_STATUSES) | status.str.starts_with("{"))["twap_id"]
    activated = events.filter(status == "activated")["twap_id"]

    assert len(set(activated) - set(ended)) > 5
    first_day = pl.read_parquet(full[0] / "2025/08/17/*.parquet")
    finished = first_day.filter(status == "finished")["twap_id"]
    assert set(finished) - set(first_day.filter(status == "activated")["twap_id"])


@pytest.mark.parametrize(
    ("now", "until"),
    [("10:04:59", "09:00"), ("10:05:00", "10:00"), ("10:59:59", "10:00"), ("11:30:00", "11:00")],
)
def test_latest_until_is_an_hour_with_all_objects_written(now: str, until: str) -> None:
    """The objects of an hour are written up to five minutes after its end."""
    assert latest_until(datetime.fromisoformat(f"2026-11-26T{now}+00:00")).isoformat() == f"2026-11-26T{until}:00+00:00"


@pytest.mark.parametrize(("until", "last_day"), [("2026-11-26T00", 25), ("2026-11-26T01", 26), ("2026-11-26T23", 26)])
def test_sample_days_end_with_the_last_hour(until: str, last_day: int) -> None:
    request = SampleRequest(datetime.fromisoformat(f"{until}:00+00:00"))

    assert (request.first_date, request.last_date) == (date(2026, 11, last_day - 13), date(2026, 11, last_day))


def test_write_object_is_valid_and_reproducible(tmp_path: Path) -> None:
    write_object(tmp_path / "a/one.parquet", 25_001, seed=3)
    write_object(tmp_path / "b/one.parquet", 25_001, seed=3)
    assert _state(tmp_path / "a") == _state(tmp_path / "b")
    frame = pl.read_parquet(tmp_path / "a/one.parquet")
    assert frame.select("twap_id", "state_user", "time").n_unique() == 25_001
    assert frame.null_count().sum_horizontal().item() == 0
    assert frame["time"].is_sorted()
    assert frame["time"].max() < "2025-08-19"  # type: ignore[operator]


def test_write_object_other_ids_share_no_key(tmp_path: Path) -> None:
    write_object(tmp_path / "a.parquet", 1_000)
    write_object(tmp_path / "b.parquet", 1_000, first_twap_id=2_000_000, day=datetime(2025, 9, 1, tzinfo=UTC))
    ids = [set(pl.read_parquet(tmp_path / name)["twap_id"]) for name in ("a.parquet", "b.parquet")]
    assert ids[0].isdisjoint(ids[1])
    assert pl.read_parquet(tmp_path / "b.parquet")["time"].min() >= "2025-09-01"  # type: ignore[operator]
