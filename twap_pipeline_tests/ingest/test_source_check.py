"""A database that contains objects of one source refuses another one, unless its URL is accepted by name."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.ingest.source_check import require_same_source
from twap_pipeline.sample.manifest import SampleRequest, SampleSummary, write_manifest
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import ingest_everything

pytestmark = pytest.mark.fault("D10")


@pytest.fixture
def other(tmp_path: Path) -> LocalDirectory:
    """Another source, with the same key."""
    (tmp_path / "other").mkdir()
    bucket = Bucket(tmp_path / "other")
    bucket.put("a", [event(1, executed="2")], hours=1)
    return LocalDirectory(bucket.directory)


def test_other_source_is_refused_and_both_are_named(engine: Engine, bucket: Bucket, other: LocalDirectory) -> None:
    bucket.put("a", [event(1)])
    store = LocalDirectory(bucket.directory)
    require_same_source(engine, other, [])
    ingest_everything(store, engine)

    require_same_source(engine, store, [])
    with pytest.raises(ConfigurationError) as refused:
        require_same_source(engine, other, ["s3://accepted/raw/"])

    assert str(refused.value).startswith(
        f"the source is {other.url}, and the database contains objects of {store.url}: objects"
    )
    assert "another TWAP_HOME" in str(refused.value)
    assert str(refused.value).endswith(f"set TWAP_ACCEPT_SOURCE_URLS={other.url}")


def test_failed_object_of_another_source_also_names_it(engine: Engine, bucket: Bucket, other: LocalDirectory) -> None:
    (bucket.directory / "a").write_bytes(b"not parquet")
    ingest_everything(LocalDirectory(bucket.directory), engine)

    with pytest.raises(ConfigurationError, match="contains objects of"):
        require_same_source(engine, other, [])


def test_accepted_source_is_recorded_beside_the_first(engine: Engine, bucket: Bucket, other: LocalDirectory) -> None:
    """Once its objects are loaded, both sources are known, and the history names the source of each version."""
    bucket.put("a", [event(1)])
    store = LocalDirectory(bucket.directory)
    ingest_everything(store, engine)

    require_same_source(engine, other, ["s3://x/", other.url.removesuffix("/")])
    ingest_everything(other, engine)

    require_same_source(engine, other, [])
    with engine.connect() as connection:
        assert connection.execute(text("SELECT source_url FROM etl_s3_ingest_log")).scalar_one() == other.url
        assert connection.execute(text("SELECT source_url FROM etl_s3_ingest_history")).scalar_one() == store.url


def test_entries_without_a_source_accept_and_record_any(engine: Engine, bucket: Bucket, other: LocalDirectory) -> None:
    """Entries that are older than revision 004 have no source; the next load records it."""
    for key in ("a", "b"):
        bucket.put(key, [event(1)])
    store = LocalDirectory(bucket.directory)
    ingest_everything(store, engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE etl_s3_ingest_log SET source_url = NULL"))
    require_same_source(engine, other, [])
    bucket.put("b", [event(2)], hours=1)
    ingest_everything(store, engine)

    require_same_source(engine, store, [])
    with pytest.raises(ConfigurationError, match="contains objects of"):
        require_same_source(engine, other, [])


SAMPLE = SampleRequest(datetime(2025, 8, 31, tzinfo=UTC))
SUMMARY = SampleSummary({}, {})


def test_other_source_is_refused_after_the_sample(engine: Engine, bucket: Bucket, other: LocalDirectory) -> None:
    """A later sample is another source, too: both in one database would be a mixture of two sets of orders."""
    bucket.put("statuses/a", [event(1)])
    write_manifest(bucket.directory, SAMPLE, SUMMARY)
    ingest_everything(LocalDirectory(bucket.directory / "statuses"), engine)
    moved = bucket.directory.rename(bucket.directory.with_name("moved"))

    require_same_source(engine, LocalDirectory(moved / "statuses"), [])
    with pytest.raises(ConfigurationError, match="the generated sample until 2025-08-31T00:00Z: objects with"):
        require_same_source(engine, other, [])
    later = bucket.directory / "statuses"
    later.mkdir(parents=True)
    write_manifest(bucket.directory, replace(SAMPLE, until=SAMPLE.until + timedelta(hours=1)), SUMMARY)
    with pytest.raises(ConfigurationError, match="the generated sample until 2025-08-31T00:00Z: the sample was"):
        require_same_source(engine, LocalDirectory(later), [])
