"""The assets with an in-memory Dagster instance, PostgreSQL and a local directory as the source."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import IO, Any

import dagster as dg
import pytest
from dagster._core.definitions.observe import observe as observe_assets
from sqlalchemy import Connection, Engine, text

from twap_pipeline.defs import assets
from twap_pipeline.defs.assets import FAILED_OBJECTS_KEY
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.partitions import range_tags
from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ObjectRefusedError
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX, IngestLogEntry, read_ingest_log
from twap_pipeline.storage.schema.revision_gate import compare_revisions
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.mutants import expect_failure, first_failure_ends_all

CATALOG = AssetCatalog()


def object_key(day: date, name: str) -> str:
    return f"hourly/{day:%Y/%m/%d}/12/{name}.parquet"


def run(instance: dg.DagsterInstance, first: date, last: date, **config: object) -> dg.ExecuteInProcessResult:
    job = load_definitions().resolve_job_def("ingest_twap_status")
    return job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags=range_tags(first, last),
        run_config={"ops": {"twap_status": {"config": config}}},
    )


def values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    """Return key → value; a table is a list of its rows."""
    return {
        key: [record.data for record in entry.records] if isinstance(entry, dg.TableMetadataValue) else entry.value
        for key, entry in metadata.items()
    }


def materializations_by_partition(instance: dg.DagsterInstance) -> dict[str, dg.AssetMaterialization]:
    records = instance.fetch_materializations(CATALOG.status_key, limit=100, ascending=True).records
    return {
        record.partition_key or "": record.asset_materialization for record in records if record.asset_materialization
    }


def latest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, Any]:
    (record,) = instance.fetch_materializations(key, limit=1).records
    assert record.asset_materialization is not None
    return values(record.asset_materialization.metadata)


def step_failure(result: dg.ExecuteInProcessResult) -> Any:
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    return event.step_failure_data


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    failure = step_failure(result)
    return f"{failure.user_failure_data.description if failure.user_failure_data else ''} {failure.error}"


def count_rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one())


def test_materialization_has_state_and_run_metadata(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(
        object_key(DAY, "a"),
        [event(1), event(1, status="finished", minute=30, executed="108.36"), event(2, wallet="?")],
    )

    result = run(instance, DAY, DAY)

    assert result.success
    with engine.connect() as connection:
        entry = connection.execute(text("SELECT dagster_run_id, object_date FROM etl_s3_ingest_log")).one()
    assert tuple(entry) == (result.run_id, DAY)
    metadata = latest_metadata(instance, CATALOG.status_key)
    expected = {
        "dagster/partition_row_count": 2,
        "objects_loaded": 1,
        "rows_read": 3,
        "rows_quarantined": 1,
        "run_objects_loaded": 1,
        "run_rows_inserted": 2,
    }
    assert {name: metadata[name] for name in expected} == expected
    assert metadata["preview"][0]["size_executed"] == "108.36"
    durations = [metadata[f"run_{phase}_seconds"] for phase in ("duration", "read", "decode", "write")]
    assert all(isinstance(seconds, float) and seconds >= 0 for seconds in durations)
    assert any(durations)


def test_second_run_that_reads_nothing_keeps_the_state(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(object_key(DAY, "a"), [event(1), event(2)])
    states = []
    for _ in range(2):
        assert run(instance, DAY, DAY).success
        metadata = {
            key: latest_metadata(instance, key)
            for key in (CATALOG.status_key, CATALOG.orders_key, CATALOG.daily_stats_key)
        }
        states.append(
            {
                (key, name): entry
                for key, entries in metadata.items()
                for name, entry in entries.items()
                if not name.startswith("run_")
            }
        )

    assert states[1] == states[0]
    assert states[0][CATALOG.status_key, "dagster/partition_row_count"] == 2
    assert states[0][CATALOG.orders_key, "dagster/partition_row_count"] == 2
    assert [metadata[CATALOG.status_key][name] for name in ("run_objects_loaded", "run_rows_inserted")] == [0, 0]
    assert metadata[CATALOG.orders_key]["run_orders_inserted"] == 0


def test_partition_without_objects_has_row_count_zero(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(object_key(DAY, "a"), [event(1)])

    run(instance, DAY - timedelta(days=1), DAY + timedelta(days=1))

    counts = {
        day: event.metadata["dagster/partition_row_count"].value
        for day, event in materializations_by_partition(instance).items()
    }
    assert counts == {"2025-08-19": 0, "2025-08-20": 1, "2025-08-21": 0}


@pytest.mark.fault("R1")
def test_bad_object_does_not_stop_other_objects_and_partitions(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    for number in range(4):
        bucket.put(object_key(DAY, str(number)), [event(number)])
    bucket.put(object_key(DAY + timedelta(days=1), "good"), [event(9)])
    (bucket.directory / object_key(DAY, "bad")).write_bytes(b"not parquet")

    result = run(instance, DAY, DAY + timedelta(days=1))

    assert not result.success
    text = failure_text(result)
    assert "1 object failed in 1 of 2 partitions (2025-08-20); all others are loaded:\n" in text
    assert f"\n- {object_key(DAY, 'bad')}: is not a readable parquet file" in text
    user_failure = step_failure(result).user_failure_data
    assert user_failure is not None
    assert object_key(DAY, "bad") in str(user_failure.metadata[FAILED_OBJECTS_KEY].value)
    assert list(materializations_by_partition(instance)) == ["2025-08-21"]
    (observed,) = instance.fetch_observations(CATALOG.status_key, limit=9).records
    assert observed.asset_observation is not None
    metadata = values(observed.asset_observation.metadata)
    assert observed.partition_key == "2025-08-20"
    assert [metadata[name] for name in ("dagster/partition_row_count", "objects_failed")] == [4, 1]
    assert metadata["failed_objects"][0]["key"] == object_key(DAY, "bad")
    assert count_rows(engine) == 5


@pytest.mark.fault("S7")
def test_refused_object_does_not_stop_later_partitions(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failed attempt of the last refused objects is recorded at the end of the run."""
    days = [DAY + timedelta(days=number) for number in range(4)]
    for number, day in enumerate(days):
        bucket.put(object_key(day, "a"), [event(number)])
    refused = {object_key(days[0], "a"), object_key(days[3], "a")}
    fetch = LocalDirectory.fetch

    def refuse(store: LocalDirectory, ref: ObjectRef, into: IO[bytes]) -> bool:
        if ref.key in refused:
            raise ObjectRefusedError(ref.key, "no permission")
        return fetch(store, ref, into)

    monkeypatch.setattr(LocalDirectory, "fetch", refuse)

    result = run(instance, days[0], days[3])

    assert not result.success
    assert "2 objects failed in 2 of 4 partitions" in failure_text(result)
    assert count_rows(engine) == 2
    with engine.connect() as connection:
        entries = read_ingest_log(connection)
    assert {key: entry.failed_attempts for key, entry in entries.items() if entry.error_text} == dict.fromkeys(
        refused, 1
    )


@pytest.mark.fault("R1", control=True)
def test_mutant_first_failure_ends_all_is_detected(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    with expect_failure(first_failure_ends_all):
        test_bad_object_does_not_stop_other_objects_and_partitions(instance, bucket, engine)


@pytest.mark.fault("R1")
def test_parked_object_fails_runs_until_it_is_replaced(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    """Its key in the configuration of a run loads it again."""
    bad = bucket.directory / object_key(DAY, "bad")
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"not parquet")

    def last_attempt() -> tuple[int, str | None]:
        with engine.connect() as connection:
            row = connection.execute(text("SELECT failed_attempts, error_text FROM etl_s3_ingest_log")).one()
        return row.failed_attempts, row.error_text

    for _ in range(ATTEMPTS_MAX):
        ingest_everything(LocalDirectory(bucket.directory), engine)
    failure = failure_text(run(instance, DAY, DAY))
    assert f"- {object_key(DAY, 'bad')}: parked after 3 failed attempts: is not a readable parquet file" in failure
    assert last_attempt()[0] == ATTEMPTS_MAX

    run(instance, DAY, DAY, object_keys=[object_key(DAY, "bad")])
    assert last_attempt()[0] == ATTEMPTS_MAX + 1

    bucket.put(object_key(DAY, "bad"), [event(1)], hours=9)
    assert run(instance, DAY, DAY).success
    assert last_attempt() == (0, None)
    assert count_rows(engine) == 1


@pytest.mark.fault("R6")
def test_database_at_other_revision_fails_before_listing(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(object_key(DAY, "a"), [event(1)])
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_alembic_version SET version_num = '001'"))
    bucket.clear()
    bucket.directory.rmdir()  # listing the source would fail

    result = run(instance, DAY, DAY)

    message = failure_text(result)
    assert all(part in message for part in ("001", compare_revisions([], None).head, "`twap-pipeline migrate`"))


def test_observe_records_each_changed_partition_once(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(object_key(DAY, "a"), [event(1)])
    bucket.put(object_key(DAY + timedelta(days=1), "b"), [event(2)])
    observe(instance)
    bucket.put(object_key(DAY, "a"), [event(1), event(3)], hours=3)

    observe(instance)

    records = instance.fetch_materializations(CATALOG.key("twap_s3_objects"), limit=100, ascending=True).records
    assert [record.partition_key for record in records] == ["2025-08-20", "2025-08-21", "2025-08-20"]


@pytest.mark.fault("D12")
def test_observe_metadata_counts_objects_before_start_date(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(object_key(DAY, "a"), [event(1)])
    bucket.put(object_key(date(2025, 1, 5), "old"), [event(2)])
    (bucket.directory / "manifest.json").touch()

    observe(instance)

    (record,) = instance.fetch_materializations(CATALOG.key("twap_s3_objects"), limit=100).records
    assert record.asset_materialization is not None
    metadata = {name: entry.value for name, entry in record.asset_materialization.metadata.items()}
    assert metadata["objects_before_start_date"] == 1
    assert metadata["first_keys_before_start_date"] == object_key(date(2025, 1, 5), "old")
    assert metadata["objects_skipped"] == "1: name does not match TWAP_OBJECT_PATTERN (manifest.json)"


def observe(instance: dg.DagsterInstance, *days: date) -> None:
    """Observe the whole source, or a range of days."""
    definitions = load_definitions()
    (source,) = [asset for asset in definitions.assets or [] if isinstance(asset, dg.SourceAsset)]
    tags = range_tags(days[0], days[-1]) if days else {}
    observe_assets([source], instance=instance, resources=definitions.resources, tags=tags)


@pytest.fixture
def listed_prefixes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefix of each listing, in order."""
    prefixes: list[str] = []
    list_objects = LocalDirectory.list_objects

    def record(store: LocalDirectory, *, below: str = "", **arguments: Any) -> Iterator[ObjectRef]:
        prefixes.append(below)
        return list_objects(store, below=below, **arguments)

    monkeypatch.setattr(LocalDirectory, "list_objects", record)
    return prefixes


def test_observation_of_partitions_lists_their_days_only(
    instance: dg.DagsterInstance, bucket: Bucket, listed_prefixes: list[str]
) -> None:
    """The first observation lists everything, because no layout is known."""
    days = [DAY + timedelta(days=number) for number in range(4)]
    for number, day in enumerate(days):
        bucket.put(object_key(day, "a"), [event(number)])
    observe(instance, days[0])
    observe(instance, days[1], days[2])

    assert listed_prefixes == ["", *(f"hourly/{day:%Y/%m/%d}" for day in days[1:3])]
    records = instance.fetch_materializations(CATALOG.key("twap_s3_objects"), limit=9).records
    assert sorted(str(record.partition_key) for record in records) == ["2025-08-20", "2025-08-21", "2025-08-22"]


def test_run_lists_its_days_and_reads_their_log_entries(
    instance: dg.DagsterInstance, bucket: Bucket, listed_prefixes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        bucket.put(object_key(DAY + timedelta(days=number), "a"), [event(number)])
    observe(instance)
    listed_prefixes.clear()
    read_keys: list[list[str]] = []

    def read(connection: Connection, keys: list[str], *, data_set: DataSet) -> dict[str, IngestLogEntry]:
        read_keys.append(keys)
        return read_ingest_log(connection, keys, data_set=data_set)

    monkeypatch.setattr(assets, "read_ingest_log", read)
    last = DAY + timedelta(days=1)
    assert run(instance, DAY, last).success

    assert listed_prefixes == [f"hourly/{day:%Y/%m/%d}" for day in (DAY, last)]
    assert read_keys == [[object_key(DAY, "a"), object_key(last, "a")]]


@pytest.mark.fault("X1")
@pytest.mark.parametrize("name", ["TWAP_MAX_BYTES_PER_RUN", "TWAP_MAX_BYTES_PER_DAY"])
def test_run_over_budget_reads_nothing_and_fails(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bucket.put(object_key(DAY, "a"), [event(1)])
    monkeypatch.setenv(name, "100")

    result = run(instance, DAY, DAY)

    assert f"{name} allows 100" in failure_text(result)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM etl_s3_ingest_log")).scalar_one() == 0


@pytest.mark.fault("X1")
def test_daily_budget_counts_bytes_of_earlier_runs(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(object_key(DAY, "a"), [event(1)])
    size = (bucket.directory / object_key(DAY, "a")).stat().st_size
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_DAY", str(size + 10))
    ingest_everything(LocalDirectory(bucket.directory), engine)
    bucket.put(object_key(DAY, "b"), [event(2)])

    result = run(instance, DAY, DAY)

    assert f"{size:,} bytes were read today" in failure_text(result)


def test_run_refreshes_orders_and_records_daily_stats(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    finished = {**event(1, status="finished", minute=30, executed="4"), "state_executedNtl": "0.30000000000000001"}
    bucket.put(object_key(DAY, "a"), [event(1), finished, event(2)])

    assert run(instance, DAY, DAY).success

    orders, stats = latest_metadata(instance, CATALOG.orders_key), latest_metadata(instance, CATALOG.daily_stats_key)
    expected = {"dagster/partition_row_count": 2, "open_order_count": 1, "run_orders_inserted": 2}
    assert {name: orders[name] for name in expected} == expected
    assert (stats["order_count"], stats["underfilled_order_count"]) == (2, 1)
    for metadata in (orders, stats):
        assert metadata["notional_executed_usd"] == 0.3
        assert metadata["notional_executed_usd_exact"] == "0.30000000000000001"
        assert "finished 1" in str(metadata["orders_by_status"])
    assert stats["largest_markets"][0] == {
        "asset": "HYPE",
        "orders": "2",
        "notional_executed_usd": "0.30000000000000001",
    }
