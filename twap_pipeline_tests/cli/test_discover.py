"""The command ``discover``."""

import pytest

from twap_pipeline_tests.cli.command_runner import Command, key
from twap_pipeline_tests.factories import Bucket, event


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
