"""The definitions of the fills: when they exist, and what sensor, schedule and job do with days and folders."""

import io
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import URL, Engine, text

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs import run_requests
from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS
from twap_pipeline.ingest.day_listing import list_days
from twap_pipeline.settings import load_settings
from twap_pipeline.source.base import open_store
from twap_pipeline.storage.audit.repair import REQUEUE_REASON
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.defs.sensor_ticks import requested_partitions, run, skip_message, tick
from twap_pipeline_tests.factories import NOON
from twap_pipeline_tests.fill_factories import fill, fill_frame
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.s3_server import S3Server

DAY = date(2026, 3, 1)
NEXT = DAY + timedelta(days=1)
PERP = "by_dex/{}/fills/perp/twap_fills/date={}/fills.parquet"
SPOT = "global/fills/spot/all/date={}/fills.parquet"
SENSOR, JOB = "new_twap_fills", "ingest_twap_fills"

Put = Callable[..., None]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """A function that writes objects of the fills' source, which are not parquet."""
    monkeypatch.setenv("TWAP_FILLS_URL", tmp_path.as_uri() + "/fills/")

    def write(*keys: str, content: bytes = b"x") -> None:
        for key in keys:
            path = tmp_path / "fills" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return write


def names(definitions: dg.Definitions) -> dict[str, set[str]]:
    repository = definitions.get_repository_def()
    return {
        "assets": {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()},
        "jobs": {name for name in repository.job_names if not name.startswith("__")},
        "checks": {key.name for key in repository.asset_graph.asset_check_keys},
        "sensors": {sensor.name for sensor in repository.sensor_defs},
        "schedules": {schedule.name for schedule in repository.schedule_defs},
    }


def test_definitions_of_fills_exist_with_their_url_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://bucket/statuses/")
    without = names(build_definitions(load_settings()))
    monkeypatch.setenv("TWAP_FILLS_URL", "s3://bucket/")
    added = {kind: found - without[kind] for kind, found in names(build_definitions(load_settings())).items()}

    assert added == {
        "assets": {"twap_fill_objects", "twap_fills"},
        "jobs": {"audit_twap_fills", "ingest_twap_fills", "observe_twap_fill_objects"},
        "checks": {
            "fill_count_matches_ingest_log",
            "fill_times_in_range",
            "fills_log_matches_source",
            "fills_reconcile_with_orders",
            "no_parked_fill_objects",
            "no_quarantined_fills",
        },
        "sensors": {"new_twap_fills"},
        "schedules": {"daily_fills_ingest"},
    }


def test_fills_asset_depends_on_its_objects(put: Put) -> None:
    graph = load_definitions().get_repository_def().asset_graph
    fills = graph.get(dg.AssetKey("twap_fills"))

    assert fills.parent_keys == {dg.AssetKey("twap_fill_objects")}
    assert fills.pools == {"twap_fills"}
    assert {key.asset_key for key in graph.asset_check_keys if "fill" in key.name} == {fills.key}


@pytest.mark.parametrize(("hour", "expected"), [(11, str(DAY - timedelta(days=1)))])
def test_fills_schedule_requests_the_day_before(put: Put, hour: int, expected: str) -> None:
    schedule = load_definitions().resolve_schedule_def("daily_fills_ingest")
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(DAY.year, DAY.month, DAY.day, hour, tzinfo=UTC)
    )
    request = schedule(context)

    assert schedule.cron_schedule == "0 11 * * *"
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == expected


def test_fills_sensor_requests_the_days_of_all_prefixes(instance: dg.DagsterInstance, put: Put) -> None:
    put(
        PERP.format("xyz", DAY),
        SPOT.format(NEXT),
        f"by_dex/xyz/fills/perp/all/date={DAY - timedelta(days=9)}/f.parquet",
    )

    assert requested_partitions(tick(instance, name=SENSOR)) == [str(DAY), str(NEXT)]
    assert skip_message(tick(instance)) == "no pending objects"


@pytest.mark.parametrize(
    "key", [PERP.format("new", DAY), PERP.format("xyz", DAY + timedelta(days=5)), PERP.format("xyz", DAY)]
)
def test_fills_sensor_finds_new_dex_late_and_repeated_day(
    instance: dg.DagsterInstance, put: Put, engine: Engine, key: str
) -> None:
    """A dex that appears later, a day that is published late, and a day that is published again."""
    put(PERP.format("xyz", DAY), SPOT.format(DAY), SPOT.format(DAY + timedelta(days=7)))
    mark_loaded(engine)
    assert skip_message(tick(instance, name=SENSOR)) == "no pending objects"

    put(key, content=b"new bytes")

    day = key.partition("date=")[2][:10]
    assert requested_partitions(tick(instance, name=SENSOR)) == [day]


def test_fills_sensor_and_run_read_an_s3_bucket(
    instance: dg.DagsterInstance, engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the folders of the fills are listed; a tick sends no GET request, and a run one per object."""
    monkeypatch.setenv("TWAP_FILLS_URL", "s3://fills/")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    day, client, body = NOON.date(), s3.client(), io.BytesIO()
    fill_frame(fill(1), fill(2)).write_parquet(body)
    client.create_bucket(Bucket="fills")
    for key in (PERP.format("xyz", day), SPOT.format(NEXT), f"by_dex/xyz/fills/perp/all/date={NEXT}/f.parquet"):
        client.put_object(Bucket="fills", Key=key, Body=body.getvalue())
    s3.requests.clear()

    result = tick(instance, name=SENSOR)
    assert (requested_partitions(result), s3.requests["GET"]) == ([str(day), str(NEXT)], 0)
    assert run(instance, (result.run_requests or [])[0], JOB).success

    assert s3.requests["GET"] == 1
    with engine.connect() as connection:
        entry = connection.execute(text("SELECT s3_object_key, source_url, rows_inserted FROM etl_s3_ingest_log")).one()
    assert tuple(entry) == (PERP.format("xyz", day), "s3://fills/", 2)
    assert requested_partitions(tick(instance, name=SENSOR)) == [str(NEXT)]


def mark_loaded(engine: Engine) -> None:
    """Add a log entry of each object of the source, as if a run had loaded it."""
    settings = load_settings()
    store = open_store(settings.resolved_fills_url or "", prefixes=settings.fills_prefixes)
    statement = text(
        "INSERT INTO etl_s3_ingest_log (data_set, s3_object_key, etag, last_modified, ingested_at)"
        " VALUES ('twap_fills', :key, :etag, :last_modified, now())"
    )
    with engine.begin() as connection:
        for ref in store.list_objects():
            values = {"key": ref.key, "etag": ref.etag, "last_modified": ref.last_modified}
            connection.execute(statement, values)


def test_day_of_known_dexes_is_listed_without_the_folders(put: Put, engine: Engine) -> None:
    """A run of one day does not find a dex that no listing has recorded; the sensor records it first."""
    put(PERP.format("xyz", DAY), SPOT.format(DAY))
    settings = load_settings()
    store = open_store(settings.resolved_fills_url or "", prefixes=settings.fills_prefixes)

    def keys_of_day(day: date) -> list[str]:
        return [ref.key for refs in list_days(store, engine, [day], KEY_DATE_PATTERNS).values() for ref in refs]

    assert keys_of_day(DAY) == [PERP.format("xyz", DAY), SPOT.format(DAY)]
    put(PERP.format("new", DAY), PERP.format("new", NEXT))

    assert keys_of_day(DAY) == [PERP.format("xyz", DAY), SPOT.format(DAY)]
    assert keys_of_day(NEXT) == [PERP.format("new", NEXT)]  # no known dex has the day: everything is listed
    assert keys_of_day(DAY) == [PERP.format("new", DAY), PERP.format("xyz", DAY), SPOT.format(DAY)]


def test_fills_budget_is_that_of_all_data_sets(
    instance: dg.DagsterInstance, put: Put, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_DAY", "10")
    put(PERP.format("xyz", DAY), content=b"12345678")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO etl_s3_ingest_log (data_set, s3_object_key, etag, last_modified, ingested_at,"
                " bytes_fetched) VALUES ('twap_status', 'a', 'e', now(), now(), 5)"
            )
        )

    assert "1 deferred by TWAP_MAX_BYTES_PER_DAY" in skip_message(tick(instance, name=SENSOR))


def test_fills_run_records_a_failed_object_of_its_data_set(
    instance: dg.DagsterInstance, put: Put, engine: Engine, database: URL
) -> None:
    put(PERP.format("xyz", DAY), content=b"not parquet")
    (request,) = tick(instance, name=SENSOR).run_requests or []

    result = run(instance, request, JOB)

    failure = result.get_step_failure_events()[0].step_failure_data.user_failure_data
    assert failure is not None
    assert "1 object failed in 1 of 1 partitions" in str(failure.description)
    assert "`twap-pipeline ingest --data-set twap_fills --object-key KEY`" in str(failure.description)
    with engine.connect() as connection:
        entries = connection.execute(text("SELECT data_set, s3_object_key, object_date FROM etl_s3_ingest_log")).all()
    assert entries == [(TWAP_FILLS.name, PERP.format("xyz", DAY), DAY)]


def test_fills_run_loads_its_days_with_their_metadata(
    instance: dg.DagsterInstance, put: Put, engine: Engine, tmp_path: Path
) -> None:
    """The object of the second day has a column that appeared later."""
    day = NOON.date()
    for dex, frame in (("xyz", fill_frame(fill(1))), ("new", fill_frame(fill(2)).with_columns(added=1))):
        put(PERP.format(dex, day))
        frame.write_parquet(tmp_path / "fills" / PERP.format(dex, day))
    (request,) = tick(instance, name=SENSOR).run_requests or []

    assert run(instance, request, JOB).success
    event = instance.get_latest_materialization_event(dg.AssetKey("twap_fills"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert (metadata["dagster/partition_row_count"].value, metadata["rows_inserted"].value) == (2, 2)
    assert Decimal(str(metadata["notional_exact"].value)) == 100
    assert metadata["objects_loaded"].value == 2
    assert skip_message(tick(instance, name=SENSOR)) == "no pending objects"
    assert instance.get_latest_data_version_record(dg.AssetKey("twap_fill_objects")) is not None


def test_audit_job_of_fills_requeues_a_changed_value(put: Put, engine: Engine, tmp_path: Path) -> None:
    key = PERP.format("xyz", NOON.date())
    put(key)
    fill_frame(fill(1)).write_parquet(tmp_path / "fills" / key)
    ingest_everything(open_store(load_settings().resolved_fills_url or ""), engine, TWAP_FILLS)
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_fills SET fee = 9"))
    job = load_definitions().resolve_job_def("audit_twap_fills")

    def audit(**config: bool) -> bool:
        ops = {"ops": {"run_fills_audit": {"config": config}}}
        return job.execute_in_process(run_config=ops, raise_on_error=False).success

    assert (audit(), audit(requeue=True)) == (True, False)
    with engine.connect() as connection:
        entries = read_ingest_log(connection, data_set=TWAP_FILLS)
    assert entries[key].error_text == REQUEUE_REASON


def test_fills_and_statuses_of_a_batch_have_own_runs(instance: dg.DagsterInstance, put: Put) -> None:
    put(PERP.format("xyz", DAY))
    first = tick(instance, name=SENSOR)
    (request,) = first.run_requests or []
    job = load_definitions().resolve_job_def(JOB)
    instance.create_run_for_job(job, tags=dict(request.tags))

    assert "1 in progress" in skip_message(tick(instance, name=SENSOR))
    assert run_requests.BATCH_FINGERPRINT_TAG in request.tags
