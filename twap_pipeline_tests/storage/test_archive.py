"""Months in parquet files: exact rows, refusals, crashes at each step, and what orders and audits make of them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.api.queries.coverage import coverage
from twap_pipeline.errors import TablePartitionError
from twap_pipeline.failpoints import FailpointName, activate_failpoint
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS
from twap_pipeline.storage.months import archive
from twap_pipeline.storage.months.archive import archive_month, restore_month
from twap_pipeline.storage.months.conversion import merge_partitions, partition_by_month
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline.storage.schema.models import twap_status
from twap_pipeline_tests.databases import create_database
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import differing_orders, ingest_everything
from twap_pipeline_tests.storage.catalog import connected
from twap_pipeline_tests.storage.loaded_objects import load, scalar
from twap_pipeline_tests.storage.partitioned_table import NEXT_MONTH, ignore, partitions

AUGUST, SEPTEMBER, OCTOBER = date(2025, 8, 1), date(2025, 9, 1), date(2025, 10, 1)
_ROWS = "SELECT string_agg(event::text, '|' ORDER BY twap_id, ts) FROM twap_status AS event"
_ORDERS = "SELECT string_agg(stored::text, '|' ORDER BY twap_id) FROM twap_orders AS stored"


@pytest.fixture(scope="module")
def template_of_months(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Bucket]:
    """Name of the database that `months` copies, and its bucket."""
    bucket = Bucket(tmp_path_factory.mktemp("bucket"))
    url = create_database(server_url, template)
    difficult = event(1, executed="0.10000", asset='tab\t "quote" \\N\n') | {"state_error": "é\u2028"}
    bucket.put("a.parquet", [difficult, event(1, status="finished", minute=1), event(2)])
    both = event(2, status="finished", minute=NEXT_MONTH, executed="10")
    bucket.put("b.parquet", [both, event(3, minute=NEXT_MONTH)], hours=24 * 30)
    with connected(url) as engine:
        partition_by_month(engine, ignore)
        ingest_everything(LocalDirectory(bucket.directory), engine)
        refresh(engine)
    return str(url.database), bucket


@pytest.fixture
def bucket(template_of_months: tuple[str, Bucket]) -> Iterator[Bucket]:
    """The bucket of `months`; objects that a test adds are deleted after it."""
    bucket = template_of_months[1]
    before = set(bucket.directory.iterdir())
    yield bucket
    for path in set(bucket.directory.iterdir()) - before:
        path.unlink()


@pytest.fixture
def months(server_url: str, template_of_months: tuple[str, Bucket]) -> Iterator[Engine]:
    """Events in August, in September, and of one order in both; refreshed orders; ``twap_status`` partitioned."""
    with connected(create_database(server_url, template_of_months[0])) as engine:
        yield engine


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def refresh(engine: Engine) -> None:
    with engine.begin() as connection:
        days = connection.execute(text("SELECT DISTINCT object_date FROM etl_s3_ingest_log")).scalars().all()
        for day in days:
            refresh_orders(connection, day)


def audit_codes(engine: Engine, bucket: Bucket, *, requeue: bool = False) -> list[str]:
    report = run_audit(LocalDirectory(bucket.directory), engine, since=date.min, deep=True, requeue=requeue)
    assert report.repair is None or not report.repair.has_changes
    return [finding.code for finding in report.findings]


# Files


def test_archived_month_is_restored_to_the_byte(months: Engine, tmp_path: Path) -> None:
    before = scalar(months, _ROWS)

    archived = archive_month(months, AUGUST, tmp_path)

    assert (archived.rows, archived.file_name) == (3, "twap_status_2025_08.parquet")
    assert partitions(months) == ["twap_status_2025_09"]
    assert scalar(months, "SELECT concat(month, ' ', rows, ' ', sha256, ' ', checksum) FROM etl_archived_months") == (
        f"2025-08-01 3 {archived.sha256} {archived.checksum}"
    )
    restored = restore_month(months, tmp_path / archived.file_name)

    assert restored == archived
    assert scalar(months, _ROWS) == before
    assert scalar(months, "SELECT count(*) FROM etl_archived_months") == 0
    assert partitions(months) == ["twap_status_2025_08", "twap_status_2025_09"]


def test_archive_has_every_column_and_exact_decimals(months: Engine, tmp_path: Path) -> None:
    table = pq.read_table(tmp_path / archive_month(months, AUGUST, tmp_path).file_name)

    assert table.column_names == twap_status.columns.keys()
    row = table.slice(0, 1).to_pylist()[0]
    assert (row["size_executed"], row["ts"]) == ("0.10000", datetime(2025, 8, 20, 12, 0, 0, 123456, UTC))
    assert isinstance(row["raw_payload"], str)
    assert isinstance(row["inserted_at"], datetime)
    assert not any(pa.types.is_floating(field.type) for field in table.schema)


def test_archive_in_batches_equals_the_rows(months: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = scalar(months, _ROWS)
    monkeypatch.setattr(archive, "BATCH_ROWS", 2)

    archived = archive_month(months, AUGUST, tmp_path)
    restore_month(months, tmp_path / archived.file_name)

    assert scalar(months, _ROWS) == before


@pytest.mark.parametrize("point", ["archive-written", "archive-verified", "month-dropped"])
def test_archive_that_fails_keeps_rows_and_no_file(months: Engine, tmp_path: Path, point: FailpointName) -> None:
    before, path = scalar(months, _ROWS), tmp_path / "twap_status_2025_08.parquet"
    seen: list[bool] = []

    def fail() -> None:
        seen.append(path.exists())
        raise KeyboardInterrupt

    with activate_failpoint(point, fail), pytest.raises(KeyboardInterrupt):
        archive_month(months, AUGUST, tmp_path)

    assert seen == [True]
    assert list(tmp_path.glob("twap_status*")) == []
    assert scalar(months, _ROWS) == before
    assert archive_month(months, AUGUST, tmp_path).rows == 3


def test_archive_after_killed_one_does_not_overwrite(months: Engine, tmp_path: Path) -> None:
    """A killed process leaves the file; PostgreSQL rolls its transaction back."""
    path = tmp_path / "twap_status_2025_08.parquet"
    left: list[bytes] = []

    def end() -> None:
        left.append(path.read_bytes())
        raise KeyboardInterrupt

    with activate_failpoint("month-dropped", end), pytest.raises(KeyboardInterrupt):
        archive_month(months, AUGUST, tmp_path)
    path.write_bytes(left[0])

    with pytest.raises(TablePartitionError, match="exists already: an interrupted archive left it"):
        archive_month(months, AUGUST, tmp_path)

    assert path.read_bytes() == left[0]
    assert partitions(months) == ["twap_status_2025_08", "twap_status_2025_09"]


def test_restore_that_fails_changes_nothing(months: Engine, tmp_path: Path) -> None:
    before = scalar(months, _ROWS)
    path = tmp_path / archive_month(months, AUGUST, tmp_path).file_name
    archived = scalar(months, _ROWS)

    def fail() -> None:
        raise KeyboardInterrupt

    with activate_failpoint("month-restored", fail), pytest.raises(KeyboardInterrupt):
        restore_month(months, path)

    assert scalar(months, _ROWS) == archived
    assert scalar(months, "SELECT count(*) FROM etl_archived_months") == 1
    assert partitions(months) == ["twap_status_2025_09"]
    restore_month(months, path)
    assert scalar(months, _ROWS) == before


def test_archive_differing_from_rows_is_refused(
    months: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "copy_text", lambda frame: b"")

    with pytest.raises(TablePartitionError, match="differs from the rows: nothing was dropped"):
        archive_month(months, AUGUST, tmp_path)

    assert partitions(months) == ["twap_status_2025_08", "twap_status_2025_09"]


def test_restore_of_changed_file_is_refused(months: Engine, tmp_path: Path) -> None:
    path = tmp_path / archive_month(months, AUGUST, tmp_path).file_name
    path.write_bytes(path.read_bytes() + b" ")

    with pytest.raises(TablePartitionError, match="is not an archived month of this database"):
        restore_month(months, path)
    with pytest.raises(TablePartitionError, match=r"cannot read .*: No such file"):
        restore_month(months, tmp_path / "none.parquet")


# Refusals


def test_archive_of_plain_table_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(TablePartitionError, match="twap_status is not partitioned: run `twap-pipeline partition-by"):
        archive_month(engine, AUGUST, tmp_path)


@pytest.mark.parametrize(
    ("month", "message"),
    [
        (datetime.now(UTC).date().replace(day=1), "is not older than the previous month"),
        (OCTOBER, "has no partition for 2025-10: there is nothing to archive"),
        (SEPTEMBER, "months are archived oldest first: archive 2025-08 before 2025-09"),
    ],
)
def test_archive_of_unfit_month_is_refused(months: Engine, tmp_path: Path, month: date, message: str) -> None:
    with pytest.raises(TablePartitionError, match=message):
        archive_month(months, month, tmp_path)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE etl_s3_ingest_log SET orders_refreshed_at = NULL", "a.parquet (its orders are not refreshed)"),
        (
            "INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, error_text, object_date)"
            " VALUES ('failed', now(), now(), 'because', '2025-09-01')",
            "failed (it failed to load)",
        ),
    ],
)
def test_archive_with_unfinished_objects_is_refused(
    months: Engine, tmp_path: Path, statement: str, reason: str
) -> None:
    run(months, statement)

    with pytest.raises(TablePartitionError) as raised:
        archive_month(months, AUGUST, tmp_path)

    assert f"1 objects of 2025-08 are not finished: {reason}; run" in str(raised.value)


def test_archive_twice_names_the_file(months: Engine, tmp_path: Path) -> None:
    archive_month(months, AUGUST, tmp_path)

    with pytest.raises(TablePartitionError, match=r"2025-08 is archived already, in the file twap_status_2025_08\.par"):
        archive_month(months, AUGUST, tmp_path)
    with pytest.raises(TablePartitionError, match="the months up to 2025-08 are archived: restore them first"):
        merge_partitions(months, ignore)


# Loads, orders and audits


def test_load_of_archived_month_fails_its_object(months: Engine, bucket: Bucket, tmp_path: Path) -> None:
    archive_month(months, AUGUST, tmp_path)
    bucket.put("c.parquet", [event(9), event(9, status="finished", minute=NEXT_MONTH)], hours=24 * 30)

    error = load(months, bucket, "c.parquet")[0].error

    assert error == (
        "it has events of 2025-08, and the months up to 2025-08 are archived: restore them first with"
        " `twap-pipeline restore-month`, the newest first"
    )
    restore_month(months, tmp_path / "twap_status_2025_08.parquet")
    assert load(months, bucket, "c.parquet")[0].row_counts.inserted == 2


def test_orders_with_archived_events_are_kept(months: Engine, tmp_path: Path) -> None:
    before = scalar(months, _ORDERS)
    archive_month(months, AUGUST, tmp_path)

    refresh(months)

    assert scalar(months, _ORDERS) == before
    with months.connect() as connection:
        assert differing_orders(connection) == []


def test_refresh_of_new_event_of_archived_order_is_refused(months: Engine, bucket: Bucket, tmp_path: Path) -> None:
    before = scalar(months, _ORDERS)
    archive_month(months, AUGUST, tmp_path)
    bucket.put("c.parquet", [event(2, minute=NEXT_MONTH + 1), event(4, minute=NEXT_MONTH)], hours=24 * 30)
    load(months, bucket, "c.parquet")

    with pytest.raises(TablePartitionError) as raised:
        refresh(months)

    assert "1 orders of new objects have archived events, for example order 2;" in str(raised.value)
    assert scalar(months, _ORDERS) == before
    restore_month(months, tmp_path / "twap_status_2025_08.parquet")
    refresh(months)
    assert scalar(
        months, "SELECT string_agg(twap_id || ':' || event_count, ' ' ORDER BY twap_id) FROM twap_orders"
    ) == ("1:2 2:3 3:1 4:1")


def test_audits_count_archived_rows_as_present(months: Engine, bucket: Bucket, tmp_path: Path) -> None:
    archive_month(months, AUGUST, tmp_path)

    assert audit_codes(months, bucket, requeue=True) == ["archived_rows"]

    names = ("row_count_matches_ingest_log", "orders_match_events")
    checks = [check for check in CHECKS if check.name in names]
    for is_full in (False, True):
        assert [result.count for _, result in run_checks(months, checks, is_full=is_full)] == [0, 0]
    run(months, "DELETE FROM twap_status WHERE twap_id = '3'")
    assert audit_codes(months, bucket) == ["row_count_mismatch", "rows_missing", "orders_mismatch", "archived_rows"]


def test_coverage_lists_archived_months(months: Engine, tmp_path: Path) -> None:
    archive_month(months, AUGUST, tmp_path)

    with months.connect() as connection:
        row = connection.execute(coverage(None, None, days_max=1000)).one()

    assert row.archived_months == '["2025-08"]'


def test_repair_keeps_orders_with_archived_events(months: Engine, bucket: Bucket, tmp_path: Path) -> None:
    """Order 2 has one event in the archived month, and one that was edited."""
    before = scalar(months, _ORDERS)
    archive_month(months, AUGUST, tmp_path)
    run(months, "UPDATE twap_status SET asset = 'EDITED' WHERE twap_id = '2'")

    report = run_audit(LocalDirectory(bucket.directory), months, since=date.min, requeue=True)

    assert report.repair is not None
    assert (report.repair.requeued, report.repair.deleted_rows) == (("b.parquet",), 1)
    assert scalar(months, _ORDERS) == before
