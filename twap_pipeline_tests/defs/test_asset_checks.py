"""Each check passes on a sound table and fails on a table that is broken in just its way."""

import dagster as dg
import pytest
from dagster._core.storage.tags import BACKFILL_ID_TAG
from sqlalchemy import Engine, text

from twap_pipeline.definitions import build_definitions
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.settings import load_settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.data_checks import CHECKS
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests.factories import DAY, Bucket, event

NAMES = [*(check.name for check in CHECKS), "ingest_log_matches_source", "schema_at_head"]

BREAKAGES: dict[str, str] = {
    "no_parked_objects": "UPDATE etl_s3_ingest_log SET error_text = 'poison', failed_attempts = 3",
    "row_count_matches_ingest_log": "DELETE FROM twap_status WHERE twap_id = '1' AND status = 'activated'",
    "event_times_in_range": "UPDATE twap_status SET ts = '1970-01-21' WHERE twap_id = '1' AND status = 'activated'",
    "terminal_event_rate": "INSERT INTO twap_status (twap_id, wallet, ts, status, s3_object_key)"
    " SELECT n, 'w', '2025-08-01', 'activated', 'x' FROM generate_series(100, 110) AS n",
    "daily_row_count_anomaly": "INSERT INTO etl_s3_ingest_log"
    " (s3_object_key, last_modified, ingested_at, object_date, rows_read) SELECT d, now(), now(),"
    " '2025-08-01'::date + d, CASE WHEN d = 3 THEN 900 ELSE 5000 END FROM generate_series(1, 9) AS d",
    "executed_size_lte_requested": "UPDATE twap_status SET size_executed = size_requested + 1 WHERE status = 'finished'",
    "no_execution_before_terminal_event": "UPDATE twap_status SET size_executed = 1 WHERE status = 'activated'",
    "no_unknown_statuses": "UPDATE twap_status SET status = 'paused' WHERE status = 'finished'",
    "no_quarantined_rows": "INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason)"
    " VALUES ('a.parquet', 0, '{}', 'because')",
    "orders_match_events": "UPDATE twap_orders SET size_executed = 7 WHERE twap_id = '2'",
    "ingest_log_matches_source": "UPDATE etl_s3_ingest_log SET etag = 'another'",
    "schema_at_head": "DROP INDEX twap_status_asset_idx",
}


@pytest.fixture
def sound(engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A table with two ended orders, loaded from the bucket."""
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")
    rows = [event(twap_id, status=status, minute=minute) for twap_id in (1, 2) for status, minute in _LIFE]
    bucket.put(f"{DAY:%Y/%m/%d}/a.parquet", rows)
    store = LocalDirectory(bucket.directory)
    ingest_objects(store, engine, store.list_objects(), bucket.day)
    with engine.begin() as connection:
        refresh_orders(connection, bucket.day)
    return engine


_LIFE = (("activated", 0), ("finished", 30))


def evaluate(**tags: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Run every check, as the UI's button does."""
    definitions = build_definitions(load_settings())
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*(definitions.asset_checks or [])],
            instance=instance,
            selection=dg.AssetSelection.all_asset_checks(),
            resources=dict(definitions.resources or {}),
            tags=tags,
        )
        return {found.check_name: found for found in result.get_asset_check_evaluations()}


def test_every_check_passes_on_a_sound_table(sound: Engine) -> None:
    assert {name: found.passed for name, found in evaluate().items()} == dict.fromkeys(NAMES, True)


def test_a_run_of_a_backfill_does_not_read_the_whole_tables_once_more(sound: Engine) -> None:
    assert list(evaluate(**{BACKFILL_ID_TAG: "abcdefgh"})) == ["schema_at_head"]


@pytest.mark.parametrize("name", NAMES)
def test_a_check_fails_on_a_table_broken_in_its_way(sound: Engine, name: str) -> None:
    with sound.begin() as connection:
        connection.execute(text(BREAKAGES[name]))

    assert not evaluate()[name].passed


def test_wrong_figures_are_errors_and_curiosities_are_warnings() -> None:
    assert {check.name for check in CHECKS if check.is_error} == {
        "no_parked_objects",
        "row_count_matches_ingest_log",
        "event_times_in_range",
        "orders_match_events",
    }


def test_a_failing_check_shows_what_it_found(sound: Engine) -> None:
    with sound.begin() as connection:
        connection.execute(text(BREAKAGES["executed_size_lte_requested"]))

    found = evaluate()["executed_size_lte_requested"]

    assert found.severity == dg.AssetCheckSeverity.WARN
    assert found.metadata["found"].value == 2
    assert "| twap_id | wallet |" in str(found.metadata["examples"].value)
