"""Tampering with rows, ingest log, quarantine or orders is found, and repaired by a requeue and an ingestion."""

from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.ingest.deep_audit import loaded_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.factories import Bucket
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.ingest.audited_tables import (
    EMPTY,
    OTHER,
    A,
    B,
    C,
    D,
    assert_no_errors,
    errors,
    load,
    load_fills,
    of,
    quick,
    read,
    repair_once,
    run,
    tables,
)


@pytest.fixture
def loaded(engine: Engine, bucket: Bucket) -> Bucket:
    """Loaded objects, with an earlier version of `D`, and refreshed orders."""
    load(engine, bucket)
    return bucket


OF_FILL_1 = "trade_id = '1'"
ROWS = {
    "contested row deleted": f"DELETE FROM twap_status WHERE {of(2)}",
    "all deleted": "DELETE FROM twap_status WHERE s3_object_key <> 'gone'",
    "size by its last zero": f"UPDATE twap_status SET size_executed = 7.5 WHERE {of(4, 9)}",
    "status to a higher one": f"UPDATE twap_status SET status = 'finished' WHERE {of(1)}",
    "time": f"UPDATE twap_status SET ts = ts + interval '1 microsecond' WHERE {of(1)}",
    "creation": f"UPDATE twap_status SET started_at = NULL WHERE {of(1)}",
    "payload by a space": f"UPDATE twap_status SET raw_payload = (raw_payload::text || ' ')::json WHERE {of(1)}",
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
    "counts against each other": f"""UPDATE etl_s3_ingest_log SET rows_inserted = rows_inserted + 1,
        rows_superseded = rows_superseded - 1 WHERE s3_object_key = '{C}'""",
    "quarantined counted as superseded": f"""UPDATE etl_s3_ingest_log SET rows_quarantined = 0,
        rows_superseded = rows_superseded + 1 WHERE s3_object_key = '{A}'""",
    "counts forgotten": f"UPDATE etl_s3_ingest_log SET rows_read = NULL WHERE s3_object_key = '{B}'",
    "rows held": f"UPDATE etl_s3_ingest_log SET rows_ingested = 77 WHERE s3_object_key = '{B}'",
    "etag": f"UPDATE etl_s3_ingest_log SET etag = 'x' WHERE s3_object_key = '{B}'",
    "error and failed_attempts": "UPDATE etl_s3_ingest_log SET error_text = 'x', failed_attempts = 1"
    f" WHERE s3_object_key = '{B}'",
    "failed_attempts": f"UPDATE etl_s3_ingest_log SET failed_attempts = 2 WHERE s3_object_key = '{B}'",
    "size": f"UPDATE etl_s3_ingest_log SET size_bytes = 1 WHERE s3_object_key = '{B}'",
    "day": f"UPDATE etl_s3_ingest_log SET object_date = '2025-08-19' WHERE s3_object_key = '{B}'",
    "newer version of an object without rows": "UPDATE etl_s3_ingest_log SET last_modified = '2035-08-20+00'"
    f" WHERE s3_object_key = '{EMPTY}'",
    "sha256": f"UPDATE etl_s3_ingest_log SET sha256 = repeat('0', 64) WHERE s3_object_key = '{B}'",
    "checksum_verified": f"UPDATE etl_s3_ingest_log SET checksum_verified = true WHERE s3_object_key = '{B}'",
    "all counts": "UPDATE etl_s3_ingest_log SET rows_read = 6, rows_inserted = 1, rows_updated = 1, rows_unchanged = 1,"
    f" rows_superseded = 1, rows_quarantined = 1, rows_metadata = 1, rows_ingested = 3 WHERE s3_object_key = '{B}'",
    "data_warnings": f"""UPDATE etl_s3_ingest_log SET data_warnings = '{{"x": 1}}' WHERE s3_object_key = '{B}'""",
}
QUARANTINE = {
    "reason": "UPDATE twap_status_quarantine SET reason = 'x'",
    "row": "UPDATE twap_status_quarantine SET raw_row = '{}'",
    "moved": f"UPDATE twap_status_quarantine SET s3_object_key = '{B}' WHERE s3_object_key = '{A}'",
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
    "size by its last zero": "UPDATE twap_orders SET size_executed = 7.5 WHERE twap_id = '4'",
    "asset of all": "UPDATE twap_orders SET asset = 'SOL'",
    "wallet": f"UPDATE twap_orders SET wallet = '{OTHER}' WHERE twap_id = '1'",
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


FILLS = {
    "decimal by its last zero": (f"UPDATE twap_fills SET fee = 0.0175 WHERE {OF_FILL_1}", {"rows_changed"}),
    "JSON by a space": (
        f"UPDATE twap_fills SET other_fields = (other_fields::text || ' ')::json WHERE {OF_FILL_1}",
        {"rows_changed"},
    ),
    "deleted": ("DELETE FROM twap_fills WHERE trade_id = '2'", {"rows_missing", "row_count_mismatch"}),
    "added": (
        f"""INSERT INTO twap_fills SELECT (jsonb_populate_record(t, '{{"trade_id": "99"}}')).* FROM twap_fills AS t
        WHERE {OF_FILL_1}""",
        {"rows_added", "row_count_mismatch"},
    ),
    "moved with its version": (
        f"""UPDATE twap_fills SET (s3_object_key, s3_last_modified) = (SELECT s3_object_key, last_modified
        FROM etl_s3_ingest_log WHERE data_set = 'twap_fills' AND s3_object_key = '{D}') WHERE {OF_FILL_1}""",
        {"rows_changed", "object_row_count_exceeded"},
    ),
    "quarantined row": ("UPDATE twap_fills_quarantine SET raw_row = '{}'", {"quarantined_rows_mismatch"}),
    "quarantined row of no object": (
        "INSERT INTO twap_fills_quarantine (s3_object_key, row_number, raw_row, reason) VALUES ('x', 1, '{}', 'x')",
        {"quarantined_rows_mismatch", "quarantine_count_mismatch"},
    ),
    "checksum in the log": (
        f"UPDATE etl_s3_ingest_log SET sha256 = 'x' WHERE data_set = 'twap_fills' AND s3_object_key = '{A}'",
        {"log_counts_mismatch"},
    ),
    "entry deleted": (
        f"DELETE FROM etl_s3_ingest_log WHERE data_set = 'twap_fills' AND s3_object_key = '{B}'",
        {"not_ingested", "orphan_rows", "rows_added"},
    ),
    "row of an invented version": (
        f"""INSERT INTO etl_s3_ingest_history (data_set, s3_object_key, kind, etag, last_modified, rows_inserted)
        VALUES ('twap_fills', '{A}', 'replaced_version', 'x', '2025-08-01+00', 1); INSERT INTO twap_fills
        SELECT (jsonb_populate_record(t, '{{"trade_id": "99", "s3_last_modified": "2025-08-01T00:00:00Z"}}')).*
        FROM twap_fills AS t WHERE {OF_FILL_1}""",
        {"unknown_object_version", "inconsistent_history", "rows_added"},
    ),
}
"""Statement and codes of each tampering with fills."""


@pytest.mark.parametrize(
    "tamperings",
    [ROWS, LOG_ENTRIES, QUARANTINE, HISTORY, ORDERS],
    ids=["rows", "log entries", "quarantine", "history", "orders"],
)
def test_tampering_is_found_and_repaired_in_one_round(
    tamperings: dict[str, str], engine: Engine, loaded: Bucket, subtests: pytest.Subtests
) -> None:
    before = tables(engine)
    for name, statement in sorted(tamperings.items(), key=lambda item: item[0] in UNVERIFIABLE):
        if name in UNVERIFIABLE:
            before = tuple([row for row in rows if '"twap_id": "6"' not in row[0]] for rows in before)
        with subtests.test(msg=name):
            run(engine, statement)

            quick_errors = quick(engine, loaded)
            result = repair_once(engine, loaded)

            assert quick_errors or result.has_errors
            assert tables(engine) == before
            assert quick(engine, loaded) == {}
    assert_no_errors(engine, loaded)


def test_tampering_with_fills_is_found_and_repaired(
    engine: Engine, loaded: Bucket, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """The statuses, whose objects have the same keys, stay as they are. An archived month is one of statuses only."""
    bucket = Bucket(tmp_path / "fills")
    load_fills(engine, bucket)
    run(
        engine,
        "INSERT INTO etl_archived_months (month, rows, sha256, file_name, checksum)"
        " VALUES ('2025-08-01', 7, 's', 'f', 'c')",
    )
    before, statuses = tables(engine, TWAP_FILLS), tables(engine)
    for name, (statement, codes) in FILLS.items():
        with subtests.test(msg=name):
            run(engine, statement)

            quick_errors = quick(engine, bucket, TWAP_FILLS)
            result = repair_once(engine, bucket, TWAP_FILLS)

            assert {*quick_errors, *errors(result.findings)} >= codes
            assert tables(engine, TWAP_FILLS) == before
            assert quick(engine, bucket, TWAP_FILLS) == {}
    assert_no_errors(engine, bucket, TWAP_FILLS)
    run(engine, "DELETE FROM etl_archived_months")
    assert tables(engine) == statuses
    assert_no_errors(engine, loaded)


@examples(8)
@example(names=["orders: invented with its event", "log: error and failed_attempts"])
@given(names=st.lists(st.sampled_from(sorted(TAMPERINGS)), min_size=2, max_size=4, unique=True))
def test_several_tamperings_are_repaired_in_one_round(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """In two rounds if an object does not count as loaded any more: its rows are compared after it is loaded again."""
    run(engine, "TRUNCATE twap_status, etl_s3_ingest_log, etl_s3_ingest_history, twap_status_quarantine, twap_orders")
    bucket = Bucket(tmp_path_factory.mktemp("bucket"))
    load(engine, bucket)
    for name in names:
        with suppress(IntegrityError):  # a tampering can contradict an earlier one
            run(engine, TAMPERINGS[name])
    objects = list(LocalDirectory(bucket.directory).list_objects())
    is_read = len(loaded_objects(engine, objects, date.min)) == len(objects)

    for _ in range(1 if is_read else 2):
        repair_once(engine, bucket)

    assert_no_errors(engine, bucket)


def test_requeue_returns_its_changes(engine: Engine, loaded: Bucket) -> None:
    run(engine, ROWS["size by its last zero"])
    run(engine, ROWS["added to no object"])
    run(engine, f"DELETE FROM twap_status WHERE {of(1)}")

    result = read(engine, loaded, requeue=True)

    assert result.repair is not None
    assert (result.repair.requeued, result.repair.deleted_rows, result.repair.adjustment) == ((A, B), 2, -2)
    assert quick(engine, loaded) == {"failed": (A, B)}
