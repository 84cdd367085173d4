"""The assets against a real Dagster instance, a real PostgreSQL and a directory of objects."""

from datetime import date, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.observe import observe as observe_assets
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from sqlalchemy import Engine, text

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.assets import SOURCE_KEY, STATUS_KEY
from twap_pipeline.defs.orders import DAILY_STATS_KEY, ORDERS_KEY
from twap_pipeline.settings import load_settings
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.mutants import expect_failure, first_failure_ends_all


def day_key(day: date, name: str) -> str:
    return f"hourly/{day:%Y/%m/%d}/12/{name}.parquet"


def run(instance: dg.DagsterInstance, first: date, last: date, **config: object) -> dg.ExecuteInProcessResult:
    job = build_definitions(load_settings()).resolve_job_def("ingest_twap_status")
    return job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags={ASSET_PARTITION_RANGE_START_TAG: str(first), ASSET_PARTITION_RANGE_END_TAG: str(last)},
        run_config={"ops": {"twap_status": {"config": config}}},
    )


def materialized(instance: dg.DagsterInstance) -> dict[str, dg.AssetMaterialization]:
    records = instance.fetch_materializations(STATUS_KEY, limit=100, ascending=True).records
    return {
        record.partition_key or "": record.asset_materialization for record in records if record.asset_materialization
    }


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    data = event.step_failure_data
    return f"{data.user_failure_data.description if data.user_failure_data else ''} {data.error}"


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one())


def test_a_day_is_materialized_with_what_a_person_wants_to_see(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(
        day_key(DAY, "a"), [event(1), event(1, status="finished", minute=30, executed="108.36"), event(2, wallet="?")]
    )

    result = run(instance, DAY, DAY)

    assert result.success
    metadata = materialized(instance)[str(DAY)].metadata
    shown = {
        name: metadata[name].value
        for name in ("dagster/partition_row_count", "objects", "rows read", "rows quarantined")
    }
    assert shown == {"dagster/partition_row_count": 2, "objects": 1, "rows read": 3, "rows quarantined": 1}
    assert "108.36" in str(metadata["preview"].value)
    spent = [metadata[f"seconds {phase}"].value for phase in ("reading", "decoding", "writing")]
    assert all(isinstance(seconds, float) for seconds in spent)
    assert metadata["seconds writing"].value
    assert rows(engine) == 2


def test_the_ledger_names_the_run(instance: dg.DagsterInstance, bucket: Bucket, engine: Engine) -> None:
    bucket.put(day_key(DAY, "a"), [event(1)])

    result = run(instance, DAY, DAY)

    with engine.connect() as connection:
        found = connection.execute(text("SELECT dagster_run_id, object_date FROM etl_s3_ingest_log")).one()
    assert tuple(found) == (result.run_id, DAY)


def test_a_run_again_reads_nothing_and_still_knows_the_day_rows(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(day_key(DAY, "a"), [event(1), event(2)])
    run(instance, DAY, DAY)

    assert run(instance, DAY, DAY).success

    metadata = materialized(instance)[str(DAY)].metadata
    assert metadata["objects taken now"].value == 0
    assert metadata["dagster/partition_row_count"].value == 2


def test_days_without_objects_are_materialized_with_no_rows(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(day_key(DAY, "a"), [event(1)])

    run(instance, DAY - timedelta(days=1), DAY + timedelta(days=1))

    counts = {day: found.metadata["dagster/partition_row_count"].value for day, found in materialized(instance).items()}
    assert counts == {"2025-08-19": 0, "2025-08-20": 1, "2025-08-21": 0}


@pytest.mark.fault("R1")
def test_one_poisoned_object_keeps_neither_its_neighbours_nor_the_other_days(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    for number in range(4):
        bucket.put(day_key(DAY, str(number)), [event(number)])
    bucket.put(day_key(DAY + timedelta(days=1), "good"), [event(9)])
    (bucket.directory / day_key(DAY, "bad")).write_bytes(b"poison")

    result = run(instance, DAY, DAY + timedelta(days=1))

    assert not result.success
    assert "1 of 2 days failed (2025-08-20): 1 objects could not be taken" in failure(result)
    assert list(materialized(instance)) == ["2025-08-21"]
    assert rows(engine) == 5


@pytest.mark.fault("R1", control=True)
def test_where_the_first_failure_ends_all_the_others_are_not_loaded_on_broken_build(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    with expect_failure(first_failure_ends_all):
        test_one_poisoned_object_keeps_neither_its_neighbours_nor_the_other_days(instance, bucket, engine)


@pytest.mark.fault("R1")
def test_a_parked_object_stays_visible_and_is_taken_again_once_it_is_mended(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bad = bucket.directory / day_key(DAY, "bad")
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"poison")
    failures = [failure(run(instance, DAY, DAY)) for _ in range(4)]
    bucket.put(day_key(DAY, "bad"), [event(1)], hours=9)

    mended = run(instance, DAY, DAY)

    assert "1 of 1 days failed" in failures[3]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT failed_attempts, error_text FROM etl_s3_ingest_log")).one() == (0, None)
    assert mended.success
    assert rows(engine) == 1


def test_a_parked_object_can_be_asked_for_by_its_key(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bad = bucket.directory / day_key(DAY, "bad")
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"poison")
    for _ in range(4):
        run(instance, DAY, DAY)

    run(instance, DAY, DAY, object_keys=[day_key(DAY, "bad")])

    with engine.connect() as connection:
        assert connection.execute(text("SELECT failed_attempts FROM etl_s3_ingest_log")).scalar_one() == 4


@pytest.mark.fault("R6")
def test_a_database_at_another_revision_is_refused_before_anything_is_read(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(day_key(DAY, "a"), [event(1)])
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_alembic_version SET version_num = '001'"))
    bucket.clear()
    bucket.directory.rmdir()  # whoever listed now would fail otherwise

    result = run(instance, DAY, DAY)

    assert "the database is at 001, this code needs 005: run `twap-pipeline migrate`" in failure(result)


def test_observing_the_source_records_each_changed_day_once(instance: dg.DagsterInstance, bucket: Bucket) -> None:
    bucket.put(day_key(DAY, "a"), [event(1)])
    bucket.put(day_key(DAY + timedelta(days=1), "b"), [event(2)])
    observe(instance)
    bucket.put(day_key(DAY, "a"), [event(1), event(3)], hours=3)

    observe(instance)

    records = instance.fetch_materializations(SOURCE_KEY, limit=100, ascending=True).records
    assert [record.partition_key for record in records] == ["2025-08-20", "2025-08-21", "2025-08-20"]


def observe(instance: dg.DagsterInstance) -> None:
    definitions = build_definitions(load_settings())
    (source,) = [asset for asset in definitions.assets or [] if isinstance(asset, dg.SourceAsset)]
    observe_assets([source], instance=instance, resources=definitions.resources)


@pytest.mark.fault("X1")
@pytest.mark.parametrize("name", ["TWAP_MAX_BYTES_PER_RUN", "TWAP_MAX_BYTES_PER_DAY"])
def test_a_run_over_its_budget_reads_nothing_and_says_so(
    instance: dg.DagsterInstance, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bucket.put(day_key(DAY, "a"), [event(1)])
    monkeypatch.setenv(name, "100")

    result = run(instance, DAY, DAY)

    assert f"{name} allows 100: nothing was read" in failure(result)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM etl_s3_ingest_log")).scalar_one() == 0


@pytest.mark.fault("X1")
def test_the_budget_of_a_day_counts_what_other_runs_have_read(
    instance: dg.DagsterInstance, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(day_key(DAY, "a"), [event(1)])
    size = (bucket.directory / day_key(DAY, "a")).stat().st_size
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_DAY", str(size + 10))
    assert run(instance, DAY, DAY).success
    bucket.put(day_key(DAY, "b"), [event(2)])

    result = run(instance, DAY, DAY)

    assert f"{size:,} bytes were read today" in failure(result)


def test_a_run_brings_the_orders_and_their_daily_figures_up_to_the_rows(
    instance: dg.DagsterInstance, bucket: Bucket
) -> None:
    bucket.put(day_key(DAY, "a"), [event(1), event(1, status="finished", minute=30, executed="4"), event(2)])

    assert run(instance, DAY, DAY).success

    (orders,) = instance.fetch_materializations(ORDERS_KEY, limit=9).records
    (figures,) = instance.fetch_materializations(DAILY_STATS_KEY, limit=9).records
    assert orders.asset_materialization is not None
    assert figures.asset_materialization is not None
    assert orders.asset_materialization.metadata["orders inserted"].value == 2
    shown = figures.asset_materialization.metadata
    assert (shown["orders"].value, shown["under-filled orders"].value) == (2, 1)
    assert "finished  ████" in str(shown["orders by status"].value)
    assert "| HYPE | 2 |" in str(shown["largest markets"].value)
