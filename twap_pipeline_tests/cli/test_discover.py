"""The command ``discover``."""

from pathlib import Path

import pytest

from twap_pipeline_tests.cli.command_runner import Command, key
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.fill_factories import fill, fill_frame


@pytest.mark.parametrize("pattern", ["(", "no-groups"])
def test_invalid_key_date_pattern_is_one_error_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.setenv("TWAP_KEY_DATE_PATTERN", pattern)

    outcome = command("discover")

    assert outcome.status == 1
    assert "TWAP_KEY_DATE_PATTERN" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_discover_prints_key_pattern_mapping_and_cost(command: Command, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])

    outcome = command("discover")

    assert outcome.status == 0
    for part in ("1 objects", "1 LIST requests", "state_executedSz", "size_executed", "2025-08-20"):
        assert part in outcome.out
    assert "objects not ingested" not in outcome.out


@pytest.mark.fault("D9", "D12")
def test_discover_counts_objects_that_are_not_ingested(command: Command, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put("hourly/2025/01/05/12/old.parquet", [event(2)])
    for name in ("x_$folder$", "manifest.json", "_SUCCESS"):
        (bucket.directory / name).touch()

    outcome = command("discover")

    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["2", *["name", "does", "not", "match", "TWAP_OBJECT_PATTERN", "manifest.json,", "x_$folder$"]] in lines
    assert ["1", *["a", "path", "segment", "starts", "with", "_", "or", ".", "_SUCCESS"]] in lines
    assert ["1", *["before", "TWAP_START_DATE", "(2025-08-17)", "hourly/2025/01/05/12/old.parquet"]] in lines


def test_discover_of_fills_lists_their_folders_and_mapping(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "fills" / "by_dex" / "xyz" / "fills" / "perp" / "twap_fills" / "date=2026-03-01"
    folder.mkdir(parents=True)
    fill_frame(fill(1)).write_parquet(folder / "fills.parquet")
    monkeypatch.setenv("TWAP_FILLS_URL", (tmp_path / "fills").as_uri() + "/")

    outcome = command("discover", "--data-set", "twap_fills")

    assert outcome.status == 0, outcome.err
    targets = {line.split()[0]: line.split()[-1] for line in outcome.out.splitlines() if line.split()}
    assert (targets["coin"], targets["priority_gas"], targets["tx_hash"]) == ("asset", "priority_fee", "other_fields")
    assert "1 objects" in outcome.out


@pytest.mark.parametrize("name", ["discover", "ingest", "audit"])
def test_command_for_fills_without_their_url_is_refused(command: Command, name: str) -> None:
    outcome = command(name, "--data-set", "twap_fills")

    assert outcome.status == 1
    assert outcome.err.startswith("error: TWAP_FILLS_URL is not set, so that there are no fills: set it to ")
