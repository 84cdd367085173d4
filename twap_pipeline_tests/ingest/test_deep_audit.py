"""The deep audit reports every difference between objects and tables, and nothing else; a requeue repairs it."""

import os
from datetime import date

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.deep_audit import deep_audit, loaded_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.ingest.audited_tables import (
    A,
    B,
    C,
    D,
    assert_no_errors,
    deep,
    errors,
    load,
    of,
    order_differences,
    quick,
    read,
    refresh,
    repair_once,
    run,
    tables,
)
from twap_pipeline_tests.invariants import digest, ingest_everything
from twap_pipeline_tests.storage.statistics import set_empty_statistics


@pytest.fixture
def loaded(engine: Engine, bucket: Bucket) -> Bucket:
    """Loaded objects, with an earlier version of `D`, and refreshed orders."""
    load(engine, bucket)
    return bucket


def test_old_modification_time_loads_and_is_verified(engine: Engine, bucket: Bucket) -> None:
    """Unpacked archives have such times; the day in the key bounds the event times instead."""
    bucket.put(A, [event(1), event(1, status="finished", minute=30)])
    os.utime(bucket.directory / A, (0, 0))

    (result,) = ingest_everything(LocalDirectory(bucket.directory), engine)

    assert (result.error, result.row_counts.inserted) == (None, 2)
    assert deep(engine, bucket) == quick(engine, bucket) == {}
    check = [check for check in CHECKS if check.name == "event_times_in_range"]
    assert [result.count for _, result in run_checks(engine, check)] == [0]
    run(engine, "UPDATE twap_status SET ts = '2025-08-22 00:00:01+00' WHERE status = 'finished'")
    assert [result.count for _, result in run_checks(engine, check, is_full=True)] == [1]


def test_consistent_tables_report_only_unverifiable_rows(engine: Engine, loaded: Bucket) -> None:
    assert_no_errors(engine, loaded)

    (finding,) = read(engine, loaded).findings

    assert (finding.code, finding.examples, finding.is_informational) == ("unverifiable_rows", (f"{D}: 1 rows",), True)


def test_deep_audit_writes_nothing_and_closes_its_session(engine: Engine, loaded: Bucket) -> None:
    before = table_contents(engine)

    assert deep(engine, loaded) == {}

    assert table_contents(engine) == before
    with engine.connect() as connection:
        statement = "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"
        assert connection.execute(text(statement)).scalar_one() == 0


def table_contents(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        return [
            list(connection.execute(text(f"SELECT t::text FROM {table} AS t ORDER BY 1")).scalars())
            for table in ("twap_status", "twap_status_quarantine", "etl_s3_ingest_log", "twap_orders")
        ]


def test_clock_that_went_back_is_no_finding(engine: Engine, loaded: Bucket) -> None:
    """A repair would delete the rows of a version that no object contains any more."""
    run(engine, "UPDATE etl_s3_ingest_log SET ingested_at = ingested_at - interval '50 minutes'")
    before = tables(engine)

    assert quick(engine, loaded) == {}
    repair_once(engine, loaded)
    assert tables(engine) == before


DELETED_OBJECT = {
    "counts forgotten": f"UPDATE etl_s3_ingest_log SET rows_read = NULL WHERE s3_object_key = '{C}'",
    "rows held": f"UPDATE etl_s3_ingest_log SET rows_ingested = 77 WHERE s3_object_key = '{C}'",
    "failed_attempts": f"UPDATE etl_s3_ingest_log SET failed_attempts = 2 WHERE s3_object_key = '{C}'",
    "quarantined rows": "UPDATE etl_s3_ingest_log SET rows_quarantined = 1, rows_superseded = rows_superseded - 1"
    f" WHERE s3_object_key = '{C}'",
    "row added": f"""INSERT INTO twap_status SELECT (jsonb_populate_record(t, '{{"twap_id": "99"}}')).* FROM twap_status
        AS t WHERE {of(7)}""",
    "rows added": f"""INSERT INTO twap_status
        SELECT (jsonb_populate_record(t, jsonb_build_object('twap_id', n::text))).*
        FROM twap_status AS t, generate_series(100, 109) AS n WHERE {of(7)}""",
    "row deleted": f"DELETE FROM twap_status WHERE {of(7)}",
}


def test_counts_of_deleted_object_agree_after_repair(engine: Engine, loaded: Bucket, subtests: pytest.Subtests) -> None:
    (loaded.directory / C).unlink()
    assert_no_errors(engine, loaded)
    for name, statement in DELETED_OBJECT.items():
        with subtests.test(msg=name):
            run(engine, statement)
            assert quick(engine, loaded)

            result = read(engine, loaded, requeue=True)

            assert result.repair is not None
            assert result.repair.requeued == ()
            assert quick(engine, loaded) == {}
    assert_no_errors(engine, loaded)


def test_removed_object_leaves_events_of_other_objects(engine: Engine, loaded: Bucket) -> None:
    """The statements of docs/how-to/operate.md, "Objects that the source deleted"."""
    (loaded.directory / B).unlink()
    for table in ("twap_status", "twap_status_quarantine", "etl_s3_ingest_log"):
        run(engine, f"DELETE FROM {table} WHERE s3_object_key = '{B}'")

    repair_once(engine, loaded)

    assert_no_errors(engine, loaded)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT twap_id, status, s3_object_key FROM twap_status ORDER BY twap_id, ts"))
        assert [tuple(row) for row in rows if row.twap_id in {"2", "4"}] == [
            ("2", "activated", A),
            ("2", "finished", A),
            ("4", "activated", C),
        ]


def test_orders_pending_refresh_are_not_findings(engine: Engine, loaded: Bucket) -> None:
    loaded.put("hourly/2025/08/20/13/new.parquet", [event(1, status="finished", minute=30), event(50)], hours=5)
    ingest_everything(LocalDirectory(loaded.directory), engine)

    assert order_differences(engine) == [("1", "differs"), ("50", "missing")]
    assert deep(engine, loaded) == {}


def test_changed_source_is_found_and_ingested(engine: Engine, loaded: Bucket) -> None:
    new = "hourly/2025/08/20/13/new.parquet"
    loaded.put(A, [event(1), event(3)], hours=9)
    loaded.put(B, [event(44), event(4)], hours=1)  # under the same LastModified
    loaded.put(new, [event(40)])

    assert quick(engine, loaded) == {"not_ingested": (new,), "etag_changed": (A, B)}
    ingest_everything(LocalDirectory(loaded.directory), engine)
    refresh(engine)
    assert_no_errors(engine, loaded)


def test_object_replaced_under_same_etag_is_found(engine: Engine, loaded: Bucket) -> None:
    path = loaded.directory / A
    before, stat = path.read_bytes(), path.stat()
    at = before.index(b"HYPE")
    path.write_bytes(before[:at] + b"HYPA" + before[at + 4 :])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert quick(engine, loaded) == {}
    assert set(deep(engine, loaded)) & {"rows_changed", "object_unreadable"}


def test_deleted_object_is_informational_and_rows_stay(engine: Engine, loaded: Bucket) -> None:
    (loaded.directory / C).unlink()
    findings = audit(engine, LocalDirectory(loaded.directory).list_objects(), DAY)

    assert [(finding.code, finding.examples) for finding in findings] == [("deleted_from_source", (C,))]
    assert errors(findings) == {}

    right = digest(engine)
    result = read(engine, loaded, requeue=True)

    assert not result.has_errors
    assert result.repair is not None
    assert not result.repair.has_changes
    assert digest(engine) == right


def test_rows_of_a_database_taken_over_are_no_findings(engine: Engine, loaded: Bucket) -> None:
    """The original service recorded neither ETag nor LastModified; its objects are read again by the next load."""
    run(engine, f"UPDATE etl_s3_ingest_log SET etag = NULL WHERE s3_object_key = '{C}'")
    run(engine, f"UPDATE twap_status SET s3_last_modified = NULL WHERE s3_object_key = '{C}'")

    found = deep(engine, loaded)

    assert not {"rows_added", "rows_changed"} & set(found), found


def test_unreadable_object_is_reported_and_rows_stay(engine: Engine, loaded: Bucket) -> None:
    store = LocalDirectory(loaded.directory)
    refs = loaded_objects(engine, store.list_objects(), DAY)
    (loaded.directory / B).unlink()
    right = digest(engine)

    result = deep_audit(store, engine, refs, requeue=True)

    assert list(errors(result.findings)) == ["object_unreadable"]
    assert result.repair is not None
    assert not result.repair.has_changes
    assert digest(engine) == right


def test_concurrent_load_is_not_a_finding(engine: Engine, loaded: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalDirectory(loaded.directory)
    refs = loaded_objects(engine, store.list_objects(), DAY)
    fetch = store.fetch
    done: list[str] = []

    def fetch_during_other_load(*arguments: object) -> bool:
        if not done:
            done.append("once")
            loaded.put("hourly/2025/08/20/13/new.parquet", [event(1, asset="NEW"), event(50)], hours=5)
            loaded.put(D, [event(5, asset="SOL")], hours=6)
            ingest_everything(LocalDirectory(loaded.directory), engine)
        return fetch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "fetch", fetch_during_other_load)

    findings = deep_audit(store, engine, refs).findings

    assert set(errors(findings)) == {"object_unreadable"}
    assert deep(engine, loaded) == {}


def test_start_date_selects_objects(engine: Engine, loaded: Bucket) -> None:
    listing = list(LocalDirectory(loaded.directory).list_objects())

    assert len(loaded_objects(engine, listing, DAY)) == 5
    assert loaded_objects(engine, listing, date(2025, 8, 21)) == []
    assert errors(audit(engine, listing, date(2025, 8, 21))) == {}


def test_deep_audit_and_repair_with_stale_statistics_end(engine: Engine, bucket: Bucket) -> None:
    """A load that autovacuum analyzed before its commit leaves reltuples = 0; plans must not become quadratic."""
    bucket.put(A, [event(twap_id, minute=minute) for twap_id in range(10_000) for minute in (0, 1)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    refresh(engine)
    run(engine, "DELETE FROM twap_status WHERE twap_id::int % 2 = 0")
    run(engine, "UPDATE twap_status SET side = 'A' WHERE twap_id::int % 4 = 1")
    set_empty_statistics(engine)

    run(engine, f"ALTER DATABASE {engine.url.database} SET statement_timeout = '5s'")
    engine.dispose()  # the setting applies to new connections

    result = read(engine, bucket, requeue=True)

    assert result.repair is not None
    assert (result.repair.requeued, result.repair.deleted_rows, result.repair.adjustment) == ((A,), 5_000, -15_000)
    assert order_differences(engine) == []
