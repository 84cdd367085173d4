"""The commands ``partition-by-month``, ``archive-month`` and ``restore-month``, from conversion to undo."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from twap_pipeline.cli import cli
from twap_pipeline.errors import TablePartitionError
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything

Run = Callable[..., Result]


@pytest.fixture
def run(engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a command on `engine`; the source is the test's bucket."""
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")
    del engine
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def test_month_is_archived_and_restored_by_commands(run: Run, engine: Engine, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("hourly/2025/08/20/12/a.parquet", [event(1), event(2)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    with engine.begin() as connection:
        refresh_orders(connection, DAY)

    estimate = run("partition-by-month", "--dry-run")
    converted = run("partition-by-month")
    archived = run("archive-month", "2025-08", "--to", str(tmp_path))
    restored = run("restore-month", str(tmp_path / "twap_status_2025_08.parquet"))
    undone = run("partition-by-month", "--undo")

    assert estimate.stdout.startswith("twap_status: about 2 rows, ")
    assert converted.stdout == "twap_status has 1 partitions by month\n"
    assert "building 7 indexes" in converted.stderr
    assert archived.stdout.startswith(f"archived 2 rows of 2025-08 in {tmp_path}/twap_status_2025_08.parquet\nsha256  ")
    assert restored.stdout.startswith("restored 2 rows of 2025-08; ")
    assert undone.stdout == "twap_status is a plain table\n"


def test_archive_month_with_pending_object_is_refused(run: Run, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("hourly/2025/08/31/23/a.parquet", [event(1)])

    result = run("archive-month", "2025-09", "--to", str(tmp_path))

    assert isinstance(result.exception, TablePartitionError)
    assert str(result.exception).startswith(
        "1 objects of 2025-09 or of the days around it are not loaded, for example hourly/2025/08/31/23/a.parquet: run"
    )


@pytest.mark.parametrize("month", ["2025-13", "2025", "march"])
def test_archive_month_that_is_no_month_is_refused(run: Run, month: str, tmp_path: Path) -> None:
    result = run("archive-month", month, "--to", str(tmp_path))

    assert result.exit_code == 2
    assert f"{month!r} is not a month such as 2025-03" in result.stderr
