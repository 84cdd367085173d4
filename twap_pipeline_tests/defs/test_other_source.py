"""Every run and every tick that uses the source refuses a source whose objects the database does not contain."""

from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import Engine

from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.defs.sensor_ticks import requested_partitions, tick
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import digest, ingest_everything

pytestmark = pytest.mark.fault("D10")

KEY = f"hourly/{DAY:%Y/%m/%d}/12/a.parquet"


@pytest.fixture
def other(engine: Engine, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of another source with the same key, which is configured after the objects of the bucket were loaded."""
    bucket.put(KEY, [event(1)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    directory = tmp_path / "other"
    directory.mkdir()
    Bucket(directory).put(KEY, [event(1, executed="2")], hours=1)
    url = f"{directory.as_uri()}/"
    monkeypatch.setenv("TWAP_SOURCE_URL", url)
    return url


@pytest.mark.parametrize(
    "name", ["ingest_twap_status", "observe_twap_s3_objects", "audit_twap_status", "check_twap_status"]
)
def test_run_with_another_source_fails(instance: dg.DagsterInstance, engine: Engine, other: str, name: str) -> None:
    before = digest(engine)
    job = load_definitions().resolve_job_def(name)
    partition_key = str(DAY) if name == "ingest_twap_status" else None

    result = job.execute_in_process(instance=instance, partition_key=partition_key, raise_on_error=False)

    errors = [str(event.event_specific_data) for event in result.all_events if event.is_step_failure]
    assert any(f"the source is {other}, and the database contains objects of file://" in error for error in errors)
    assert digest(engine) == before


def test_tick_with_another_source_fails(instance: dg.DagsterInstance, other: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the source is {other}"):
        tick(instance)

    assert instance.fetch_materializations(AssetCatalog().key("twap_s3_objects"), limit=1).records == []


def test_tick_with_an_accepted_source_requests_its_objects(
    instance: dg.DagsterInstance, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWAP_ACCEPT_SOURCE_URLS", f"s3://another/raw/, {other}")

    assert requested_partitions(tick(instance)) == [str(DAY)]
