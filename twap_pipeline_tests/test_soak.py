"""Tests of the soak's parts: the seed determines the objects, and the verification detects a wrong value.

The soak itself is ``python -m benchmarks.soak``.
"""

from collections.abc import Iterator

import pytest
from dagster_aws.s3 import S3Resource
from sqlalchemy import URL, Engine, text

from twap_pipeline.source.s3 import S3Bucket, S3Location
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline_tests.databases import create_database
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.s3_server import S3Server
from twap_pipeline_tests.soak.faults import StoreFaults
from twap_pipeline_tests.soak.simulated_bucket import BUCKET, PREFIX, SimulatedBucket
from twap_pipeline_tests.soak.verify import find_problems, load_without_faults

STEPS = 12


@pytest.fixture
def expected(server_url: str, template: str) -> Iterator[Engine]:
    """The database of the run without faults."""
    engine = make_engine(create_database(server_url, template))
    yield engine
    engine.dispose()


def changed_bucket(s3: S3Server, seed: int) -> SimulatedBucket:
    """Return a bucket after `STEPS` changes. Nothing is loaded yet, so no object is overwritten."""
    s3.reset()
    bucket = SimulatedBucket(s3, 3, seed)
    for _ in range(STEPS):
        bucket.step(dict)
    bucket.repair_all()
    return bucket


def test_soak_bucket_same_seed_gives_same_objects(s3: S3Server) -> None:
    bodies = [[version.body for version in changed_bucket(s3, seed).versions] for seed in (1, 1, 2)]

    assert bodies[0] == bodies[1]
    assert bodies[0] != bodies[2]


def test_soak_verification_detects_a_wrong_value(s3: S3Server, engine: Engine, database: URL, expected: Engine) -> None:
    """Injected faults alone cause no problem; one changed value causes two."""
    bucket, faults = changed_bucket(s3, 3), StoreFaults(3)
    s3.faults.append(faults)
    client = S3Resource(endpoint_url=s3.url, region_name="us-east-1", max_attempts=3).get_client()
    store = S3Bucket(client, S3Location(BUCKET, PREFIX))
    for _ in range(3):
        ingest_everything(store, engine)
    with engine.begin() as connection:
        for day in dates_pending_refresh(connection):
            refresh_orders(connection, day)
    load_without_faults(bucket, expected)

    assert faults.injected.total() > 0
    assert find_problems(bucket, engine, expected, faults, {}) == []

    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET asset = 'X' WHERE ts = (SELECT min(ts) FROM twap_status)"))
    problems = find_problems(bucket, engine, expected, faults, {})
    assert "twap_status differs from the run without faults" in problems
    assert any(problem.startswith("rows_changed") for problem in problems)
