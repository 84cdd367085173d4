"""Tampering with rows, ingest log, quarantine or objects is found, and repaired by a requeue and an ingestion.

The bucket contains the difficult cases: an event in three objects with different content, an object overwritten by a
version without one of its events, quarantined rows, and an object without rows.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from twap_pipeline.ingest.audit import AuditFinding, audit, has_errors
from twap_pipeline.ingest.deep_audit import DeepAuditResult, deep_audit, deleted_objects, loaded_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.invariants import differing_orders, digest, ingest_everything
from twap_pipeline_tests.storage.statistics import set_empty_statistics

A, B, C, D, EMPTY = (f"hourly/2025/08/20/12/{name}.parquet" for name in ("a", "b", "c", "d", "empty"))
OTHER = "0x" + "7" * 40


@pytest.fixture
def loaded(engine: Engine, bucket: Bucket) -> Bucket:
    """Loaded objects, with an earlier version of `D`, and refreshed orders."""
    load(engine, bucket)
    return bucket


def load(engine: Engine, bucket: Bucket) -> None:
    bucket.put(A, [event(1), event(2), event(3, wallet="nobody"), event(2, status="finished", minute=30)])
    bucket.put(B, [event(2, asset="BTC"), event(4), event(4, status="finished", minute=9, executed="7.50")], hours=1)
    bucket.put(C, [event(2, asset="OLD"), event(4), event(7)], hours=-1)
    bucket.put(D, [event(5), event(6)])
    bucket.put(EMPTY, [])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    bucket.put(D, [event(5, asset="ETH"), event(8, wallet="0x1")], hours=2)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    refresh(engine)
    let_two_hours_pass(engine)


def let_two_hours_pass(engine: Engine) -> None:
    """Move all times of the ingest log back. An audit tolerates a clock that went back by less than an hour."""
    past = "interval '2 hours'"
    run(engine, f"UPDATE etl_s3_ingest_log SET ingested_at = ingested_at - {past}")
    run(
        engine,
        f"UPDATE etl_s3_ingest_history SET ingested_at = ingested_at - {past}, recorded_at = recorded_at - {past}",
    )


def refresh(engine: Engine) -> None:
    with engine.begin() as connection:
        for day in dates_pending_refresh(connection):
            refresh_orders(connection, day)


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def quick(engine: Engine, bucket: Bucket) -> dict[str, tuple[str, ...]]:
    return errors(audit(engine, LocalDirectory(bucket.directory).list_objects(), DAY))


def read(engine: Engine, bucket: Bucket, *, requeue: bool = False) -> DeepAuditResult:
    store = LocalDirectory(bucket.directory)
    listing = list(store.list_objects())
    refs = loaded_objects(engine, listing, DAY)
    return deep_audit(store, engine, refs, requeue=requeue, deleted_keys=deleted_objects(engine, listing))


def deep(engine: Engine, bucket: Bucket) -> dict[str, tuple[str, ...]]:
    return errors(read(engine, bucket).findings)


def errors(findings: Sequence[AuditFinding]) -> dict[str, tuple[str, ...]]:
    return {finding.code: finding.examples for finding in findings if not finding.is_informational}


@pytest.mark.parametrize("year", [1970, 1980])
def test_old_modification_time_loads_and_is_verified(engine: Engine, bucket: Bucket, year: int) -> None:
    """Unpacked archives have such times; the day in the key bounds the event times instead."""
    bucket.put(A, [event(1), event(1, status="finished", minute=30)])
    modified = datetime(year, 1, 1, tzinfo=UTC).timestamp()
    os.utime(bucket.directory / A, (modified, modified))

    (result,) = ingest_everything(LocalDirectory(bucket.directory), engine)

    assert (result.error, result.row_counts.inserted) == (None, 2)
    assert deep(engine, bucket) == quick(engine, bucket) == {}
    check = [check for check in CHECKS if check.name == "event_times_in_range"]
    assert [result.count for _, result in run_checks(engine, check)] == [0]
    run(engine, "UPDATE twap_status SET ts = '2025-08-22 00:00:01+00' WHERE status = 'finished'")
    assert [result.count for _, result in run_checks(engine, check, is_full=True)] == [1]


_ROWS = """SELECT (to_jsonb(one) - 'inserted_at' - 'raw_payload')::text, raw_payload::text FROM twap_status AS one
ORDER BY twap_id, wallet, ts"""
_ORDERS = "SELECT (to_jsonb(one) - 'refreshed_at')::text FROM twap_orders AS one ORDER BY twap_id, wallet"
_QUARANTINED = "SELECT s3_object_key, row_number, raw_row::text, reason FROM twap_status_quarantine ORDER BY 1, 2"


def tables(engine: Engine) -> tuple[list[tuple[str, ...]], ...]:
    """Return all rows, quarantined rows and orders, without the write times."""
    queries = (_ROWS, _QUARANTINED, _ORDERS)
    with engine.connect() as connection:
        return tuple([tuple(map(str, row)) for row in connection.execute(text(sql))] for sql in queries)


def assert_no_errors(engine: Engine, bucket: Bucket) -> None:
    assert quick(engine, bucket) == {}
    assert deep(engine, bucket) == {}
    assert order_differences(engine) == []


def order_differences(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return differing_orders(connection)


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


def of(twap_id: int, minute: int = 0) -> str:
    return f"twap_id = '{twap_id}' AND ts >= '2025-08-20 12:{minute:02}+00' AND ts < '2025-08-20 12:{minute + 1:02}+00'"


ROWS = {
    "deleted": f"DELETE FROM twap_status WHERE {of(1)}",
    "contested row deleted": f"DELETE FROM twap_status WHERE {of(2)}",
    "all deleted": "DELETE FROM twap_status WHERE s3_object_key <> 'gone'",
    "size": f"UPDATE twap_status SET size_executed = 8 WHERE {of(4, 9)}",
    "size by its last zero": f"UPDATE twap_status SET size_executed = 7.5 WHERE {of(4, 9)}",
    "notional to null": f"UPDATE twap_status SET notional_executed = NULL WHERE {of(4, 9)}",
    "status to a higher one": f"UPDATE twap_status SET status = 'finished' WHERE {of(1)}",
    "status to a lower one": f"UPDATE twap_status SET status = 'activated' WHERE {of(4, 9)}",
    "error": f"UPDATE twap_status SET status_error = 'no' WHERE {of(1)}",
    "asset": f"UPDATE twap_status SET asset = 'btc' WHERE {of(2)}",
    "time": f"UPDATE twap_status SET ts = ts + interval '1 microsecond' WHERE {of(1)}",
    "creation": f"UPDATE twap_status SET started_at = NULL WHERE {of(1)}",
    "wallet": f"UPDATE twap_status SET wallet = '{OTHER}' WHERE {of(1)}",
    "id": f"UPDATE twap_status SET twap_id = '999' WHERE {of(7)}",
    "payload": f"""UPDATE twap_status SET raw_payload = replace(raw_payload::text, '"10"', '"11"')::json
        WHERE {of(1)}""",
    "payload by a space": f"UPDATE twap_status SET raw_payload = (raw_payload::text || ' ')::json WHERE {of(1)}",
    "payload and column together": f"""UPDATE twap_status SET size_requested = 11,
        raw_payload = replace(raw_payload::text, '"10"', '"11"')::json WHERE {of(1)}""",
    "two rows swapped": """UPDATE twap_status AS one SET asset = other.asset, status = other.status,
        size_executed = other.size_executed, raw_payload = other.raw_payload FROM twap_status AS other
        WHERE (one.twap_id, other.twap_id) IN (('2', '4'), ('4', '2')) AND one.ts = other.ts""",
    "moved to another object": f"UPDATE twap_status SET s3_object_key = '{C}' WHERE {of(2)}",
    "moved with its version": f"""UPDATE twap_status SET (s3_object_key, s3_last_modified) =
        (SELECT s3_object_key, last_modified FROM etl_s3_ingest_log WHERE s3_object_key = '{D}') WHERE {of(2)}""",
    "moved with its version and promoted": f"""UPDATE twap_status SET status = 'finished',
        (s3_object_key, s3_last_modified) =
        (SELECT s3_object_key, last_modified FROM etl_s3_ingest_log WHERE s3_object_key = '{A}') WHERE {of(2)}""",
    "moved to no object": f"UPDATE twap_status SET s3_object_key = 'nowhere' WHERE {of(2)}",
    "version of the future": f"UPDATE twap_status SET s3_last_modified = '2030-01-01+00' WHERE {of(2)}",
    "version forgotten": f"UPDATE twap_status SET s3_last_modified = NULL WHERE {of(2)}",
    "added to an object": f"""INSERT INTO twap_status SELECT (jsonb_populate_record(t, '{{"twap_id": "99"}}')).*
        FROM twap_status AS t WHERE {of(1)}""",
    "added to an object and no version": f"""INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key)
        VALUES ('9', 'w', now(), '{B}')""",
    "added to no object": "INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key) VALUES ('9', 'w', now(), 'x')",
    "one deleted, one added": f"""INSERT INTO twap_status SELECT (jsonb_populate_record(t, '{{"twap_id": "99"}}')).*
        FROM twap_status AS t WHERE {of(1)}; DELETE FROM twap_status WHERE {of(7)}""",
}
LOG_ENTRIES = {
    "older version": f"UPDATE etl_s3_ingest_log SET last_modified = '2025-08-20+00' WHERE s3_object_key = '{B}'",
    "entry deleted": f"DELETE FROM etl_s3_ingest_log WHERE s3_object_key = '{B}'",
    "entry of an object without rows deleted": f"DELETE FROM etl_s3_ingest_log WHERE s3_object_key = '{EMPTY}'",
    "history forgotten": f"DELETE FROM etl_s3_ingest_history WHERE s3_object_key = '{D}'",
    "all entries deleted": "DELETE FROM etl_s3_ingest_log",
    "count": f"UPDATE etl_s3_ingest_log SET rows_inserted = 9, rows_read = rows_read + 9 - rows_inserted"
    f" WHERE s3_object_key = '{B}'",
    "counts against each other": f"""UPDATE etl_s3_ingest_log SET rows_inserted = rows_inserted + 1,
        rows_superseded = rows_superseded - 1 WHERE s3_object_key = '{C}'""",
    "quarantined counted as superseded": f"""UPDATE etl_s3_ingest_log SET rows_quarantined = 0,
        rows_superseded = rows_superseded + 1 WHERE s3_object_key = '{A}'""",
    "counts forgotten": f"UPDATE etl_s3_ingest_log SET rows_read = NULL WHERE s3_object_key = '{B}'",
    "rows held": f"UPDATE etl_s3_ingest_log SET rows_ingested = 77 WHERE s3_object_key = '{B}'",
    "etag": f"UPDATE etl_s3_ingest_log SET etag = 'x' WHERE s3_object_key = '{B}'",
    "error": f"UPDATE etl_s3_ingest_log SET error_text = 'x' WHERE s3_object_key = '{B}'",
    "error and failed_attempts": "UPDATE etl_s3_ingest_log SET error_text = 'x', failed_attempts = 1"
    f" WHERE s3_object_key = '{B}'",
    "failed_attempts": f"UPDATE etl_s3_ingest_log SET failed_attempts = 2 WHERE s3_object_key = '{B}'",
    "size": f"UPDATE etl_s3_ingest_log SET size_bytes = 1 WHERE s3_object_key = '{B}'",
    "day": f"UPDATE etl_s3_ingest_log SET object_date = '2025-08-19' WHERE s3_object_key = '{B}'",
    "newer version": f"UPDATE etl_s3_ingest_log SET last_modified = '2035-08-20+00' WHERE s3_object_key = '{B}'",
    "newer version of an object without rows": "UPDATE etl_s3_ingest_log SET last_modified = '2035-08-20+00'"
    f" WHERE s3_object_key = '{EMPTY}'",
    "sha256": f"UPDATE etl_s3_ingest_log SET sha256 = repeat('0', 64) WHERE s3_object_key = '{B}'",
    "sha256 to null": f"UPDATE etl_s3_ingest_log SET sha256 = NULL WHERE s3_object_key = '{EMPTY}'",
    "checksum_verified": f"UPDATE etl_s3_ingest_log SET checksum_verified = true WHERE s3_object_key = '{B}'",
    "checksum_verified to null": f"UPDATE etl_s3_ingest_log SET checksum_verified = NULL WHERE s3_object_key = '{A}'",
    "all counts": "UPDATE etl_s3_ingest_log SET rows_read = 6, rows_inserted = 1, rows_updated = 1, rows_unchanged = 1,"
    f" rows_superseded = 1, rows_quarantined = 1, rows_metadata = 1, rows_ingested = 3 WHERE s3_object_key = '{B}'",
    "data_warnings": f"""UPDATE etl_s3_ingest_log SET data_warnings = '{{"x": 1}}' WHERE s3_object_key = '{B}'""",
}
QUARANTINE = {
    "deleted": "DELETE FROM twap_status_quarantine",
    "reason": "UPDATE twap_status_quarantine SET reason = 'x'",
    "row": "UPDATE twap_status_quarantine SET raw_row = '{}'",
    "row number": "UPDATE twap_status_quarantine SET row_number = row_number + 50",
    "moved": f"UPDATE twap_status_quarantine SET s3_object_key = '{B}' WHERE s3_object_key = '{A}'",
    "added": "INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason)"
    f" VALUES ('{B}', 1, '{{}}', 'x')",
    "added to no object": "INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason)"
    " VALUES ('x', 1, '{}', 'x')",
}
_INVENTED_VERSION = f"""INSERT INTO etl_s3_ingest_history (s3_object_key, kind, etag, last_modified, size_bytes, sha256,
        ingested_at, rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined,
        rows_metadata) SELECT s3_object_key, '%s', 'invented', '2025-08-01+00', 9, repeat('0', 64), ingested_at, 1, 1,
        0, 0, 0, 0, 0 FROM etl_s3_ingest_log WHERE s3_object_key = '{B}'"""
_INVENTED_ROW = f"""; INSERT INTO twap_status (twap_id, wallet, ts, status, s3_object_key, s3_last_modified)
        VALUES ('77', '{OTHER}', '2025-08-20 12:00+00', 'finished', '{B}', '2025-08-01+00')"""
HISTORY = {
    "row of an invented version": _INVENTED_VERSION % "replaced_version" + _INVENTED_ROW,
    "row of an invented requeued version": _INVENTED_VERSION % "requeued" + _INVENTED_ROW,
    "row of an invented version without columns": f"""INSERT INTO etl_s3_ingest_history (s3_object_key, kind, etag,
        last_modified, rows_inserted) VALUES ('{A}', 'replaced_version', 'x', '2025-08-01+00', 1);
        INSERT INTO twap_status (twap_id, wallet, ts, status, s3_object_key, s3_last_modified)
        VALUES ('77', '{OTHER}', '2025-08-20 12:00+00', 'finished', '{A}', '2025-08-01+00')""",
    "invented version without a row": _INVENTED_VERSION % "replaced_version",
    "row covered by an invented adjustment": f"""INSERT INTO etl_s3_ingest_history (s3_object_key, kind, rows_inserted)
        VALUES ('{B}', 'adjustment', 1); INSERT INTO twap_status
        SELECT (jsonb_populate_record(t, '{{"twap_id": "99"}}')).* FROM twap_status AS t WHERE {of(1)}""",
    "inserted rows": "UPDATE etl_s3_ingest_history SET rows_inserted = rows_inserted + 1",
    "read rows": "UPDATE etl_s3_ingest_history SET rows_read = rows_read + 7",
    "adjustment added": f"""INSERT INTO etl_s3_ingest_history (s3_object_key, kind, rows_inserted)
        VALUES ('{B}', 'adjustment', 3)""",
}
ORDERS = {
    "size": "UPDATE twap_orders SET size_executed = 9 WHERE twap_id = '4'",
    "size by its last zero": "UPDATE twap_orders SET size_executed = 7.5 WHERE twap_id = '4'",
    "notional": "UPDATE twap_orders SET notional_executed = 1000000 WHERE twap_id = '2'",
    "status and end": "UPDATE twap_orders SET status = 'finished', ended_at = now() WHERE twap_id = '5'",
    "asset of all": "UPDATE twap_orders SET asset = 'SOL'",
    "object": f"UPDATE twap_orders SET last_object_key = '{EMPTY}' WHERE twap_id = '4'",
    "wallet": f"UPDATE twap_orders SET wallet = '{OTHER}' WHERE twap_id = '1'",
    "id": "UPDATE twap_orders SET twap_id = '999' WHERE twap_id = '7'",
    "deleted": "DELETE FROM twap_orders WHERE twap_id = '4'",
    "every order deleted": "DELETE FROM twap_orders",
    "invented": """INSERT INTO twap_orders (twap_id, wallet, asset, size_executed, notional_executed, status,
        last_status_at, event_count, first_event_at, first_object_key, last_object_key)
        VALUES ('77', 'w', 'BTC', 1, 100000, 'finished', now(), 2, now(), 'x', 'x')""",
    "edited with its event": f"""UPDATE twap_orders SET size_executed = 8 WHERE twap_id = '4';
        UPDATE twap_status SET size_executed = 8 WHERE {of(4, 9)}""",
    "invented with its event": f"""INSERT INTO twap_orders (twap_id, wallet, last_status_at, event_count,
        first_event_at, first_object_key, last_object_key) VALUES ('77', 'w', '2025-08-20+00', 1, '2025-08-20+00',
        '{B}', '{B}'); INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key, s3_last_modified)
        SELECT '77', 'w', '2025-08-20+00', '{B}', last_modified FROM etl_s3_ingest_log WHERE s3_object_key = '{B}'""",
}
UNVERIFIABLE = {"all deleted", "all entries deleted", "history forgotten"}
"""Tampering that also loses the row of an overwritten version, which no object contains. Runs last."""


TAMPERINGS = {
    **{f"rows: {name}": statement for name, statement in ROWS.items()},
    **{f"log: {name}": statement for name, statement in LOG_ENTRIES.items()},
    **{f"quarantine: {name}": statement for name, statement in QUARANTINE.items()},
    **{f"history: {name}": statement for name, statement in HISTORY.items()},
    **{f"orders: {name}": statement for name, statement in ORDERS.items()},
}


@pytest.mark.parametrize("step", ["3 seconds", "50 minutes"])
def test_clock_that_went_back_is_no_finding(engine: Engine, loaded: Bucket, step: str) -> None:
    """A repair would delete the rows of a version that no object contains any more."""
    run(engine, f"UPDATE etl_s3_ingest_log SET ingested_at = ingested_at - interval '{step}'")
    before = tables(engine)

    assert quick(engine, loaded) == {}
    repair_once(engine, loaded)
    assert tables(engine) == before


def repair_once(engine: Engine, bucket: Bucket) -> DeepAuditResult:
    """Repair the tables as an operator does: audit with requeue, ingestion, refresh of orders."""
    result = read(engine, bucket, requeue=True)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    refresh(engine)
    let_two_hours_pass(engine)
    return result


@pytest.mark.parametrize(
    "tamperings",
    [ROWS, LOG_ENTRIES, QUARANTINE, HISTORY, ORDERS],
    ids=["rows", "log entries", "quarantine", "history", "orders"],
)
def test_tampering_is_found_and_repaired_in_one_round(
    tamperings: dict[str, str], engine: Engine, loaded: Bucket, subtests: pytest.Subtests
) -> None:
    right = digest(engine)
    for name, statement in sorted(tamperings.items(), key=lambda item: item[0] in UNVERIFIABLE):
        before = tables(engine)
        if name in UNVERIFIABLE:
            before = tuple([row for row in rows if '"twap_id": "6"' not in row[0]] for rows in before)
        with subtests.test(msg=name):
            run(engine, statement)

            quick_errors = quick(engine, loaded)
            result = repair_once(engine, loaded)

            assert quick_errors or has_errors(result.findings)
            assert tables(engine) == before
            assert digest(engine) == right or name in UNVERIFIABLE
            assert quick(engine, loaded) == {}
            assert order_differences(engine) == []
    assert_no_errors(engine, loaded)


@examples(8)
@given(names=st.lists(st.sampled_from(sorted(TAMPERINGS)), min_size=2, max_size=4, unique=True))
def test_several_tamperings_are_repaired_in_one_round(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    run(engine, "TRUNCATE twap_status, etl_s3_ingest_log, etl_s3_ingest_history, twap_status_quarantine, twap_orders")
    bucket = Bucket(tmp_path_factory.mktemp("bucket"))
    load(engine, bucket)
    for name in names:
        with suppress(IntegrityError):  # a tampering can contradict an earlier one
            run(engine, TAMPERINGS[name])

    repair_once(engine, bucket)

    assert_no_errors(engine, bucket)


DELETED_OBJECT = {
    "none": "SELECT 1",
    "counts forgotten": f"UPDATE etl_s3_ingest_log SET rows_read = NULL WHERE s3_object_key = '{C}'",
    "rows held": f"UPDATE etl_s3_ingest_log SET rows_ingested = 77 WHERE s3_object_key = '{C}'",
    "failed_attempts": f"UPDATE etl_s3_ingest_log SET failed_attempts = 2 WHERE s3_object_key = '{C}'",
    "quarantined rows": "UPDATE etl_s3_ingest_log SET rows_quarantined = 1, rows_superseded = rows_superseded - 1"
    f" WHERE s3_object_key = '{C}'",
    "row deleted": f"DELETE FROM twap_status WHERE {of(7)}",
    "row added": f"""INSERT INTO twap_status SELECT (jsonb_populate_record(t, '{{"twap_id": "99"}}')).* FROM twap_status
        AS t WHERE {of(7)}""",
    "rows added": f"""INSERT INTO twap_status
        SELECT (jsonb_populate_record(t, jsonb_build_object('twap_id', n::text))).*
        FROM twap_status AS t, generate_series(90, 99) AS n WHERE {of(7)}""",
}


@pytest.mark.parametrize("name", DELETED_OBJECT)
def test_counts_of_deleted_object_agree_after_repair(name: str, engine: Engine, loaded: Bucket) -> None:
    (loaded.directory / C).unlink()
    run(engine, DELETED_OBJECT[name])
    assert bool(quick(engine, loaded)) == (name != "none")

    result = repair_once(engine, loaded)

    assert result.repair is not None
    assert result.repair.requeued == ()
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


OBJECTS: dict[str, tuple[Callable[[Bucket], object], str]] = {
    "overwritten": (lambda bucket: bucket.put(B, [event(4)], hours=9), "etag_changed"),
    "added": (lambda bucket: bucket.put("hourly/2025/08/20/13/new.parquet", [event(40)]), "not_ingested"),
    "spoiled": (lambda bucket: bucket.put(B, [event(44), event(4)], hours=1), "etag_changed"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_changed_source_is_found_and_ingested(name: str, engine: Engine, loaded: Bucket) -> None:
    tamper, kind = OBJECTS[name]

    tamper(loaded)

    assert kind in quick(engine, loaded)
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
    assert not has_errors(findings)

    right = digest(engine)
    result = read(engine, loaded, requeue=True)

    assert not has_errors(result.findings)
    assert result.repair is not None
    assert not result.repair.has_changes
    assert digest(engine) == right


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


def test_requeue_returns_its_changes(engine: Engine, loaded: Bucket) -> None:
    run(engine, ROWS["size"])
    run(engine, ROWS["added to no object"])
    run(engine, ROWS["deleted"])

    result = read(engine, loaded, requeue=True)

    assert result.repair is not None
    assert (result.repair.requeued, result.repair.deleted, result.repair.adjustment) == ((A, B), 2, -2)
    assert quick(engine, loaded) == {"failed": (A, B)}


def test_start_date_selects_objects(engine: Engine, loaded: Bucket) -> None:
    listing = list(LocalDirectory(loaded.directory).list_objects())

    assert len(loaded_objects(engine, listing, DAY)) == 5
    assert loaded_objects(engine, listing, date(2025, 8, 21)) == []
    assert not has_errors(audit(engine, listing, date(2025, 8, 21)))


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
    assert (result.repair.requeued, result.repair.deleted, result.repair.adjustment) == ((A,), 5_000, -15_000)
    assert order_differences(engine) == []
