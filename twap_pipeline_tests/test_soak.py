"""The soak's own parts: the same seed gives the same world and faults, and its verdict finds what it is there to find.

The soak itself is ``python -m benchmarks.soak``.
"""

from collections.abc import Iterator

import pytest
from dagster_aws.s3 import S3Resource
from sqlalchemy import URL, Engine, text

from benchmarks.soak.faults import StoreFaults
from benchmarks.soak.simulated_bucket import BUCKET, PREFIX, World
from benchmarks.soak.verify import clean_run, verdict
from twap_pipeline.source.base import S3Location
from twap_pipeline.source.s3 import S3Bucket
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline_tests.conftest import create_database
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.s3_server import S3Server

STEPS = 40


@pytest.fixture
def clean(server_url: str, template: str) -> Iterator[Engine]:
    """The database of the clean run."""
    engine = make_engine(create_database(server_url, template))
    yield engine
    engine.dispose()


def arrived(s3: S3Server, seed: int) -> World:
    """Return a world after some steps in which nothing is loaded yet, and so nothing overwritten."""
    s3.reset()
    world = World(s3, 3, seed)
    for _ in range(STEPS):
        world.step(dict)
    world.mend_all()
    return world


def test_the_same_seed_gives_the_same_objects(s3: S3Server) -> None:
    bodies = [[version.body for version in arrived(s3, seed).versions] for seed in (1, 1, 2)]

    assert bodies[0] == bodies[1]
    assert bodies[0] != bodies[2]


def test_the_verdict_is_good_after_faults_and_bad_after_one_wrong_value(
    s3: S3Server, engine: Engine, database: URL, clean: Engine
) -> None:
    world, faults = arrived(s3, 3), StoreFaults(3)
    s3.faults.append(faults)
    client = S3Resource(endpoint_url=s3.url, region_name="us-east-1", max_attempts=3).get_client()
    store = S3Bucket(client, S3Location(BUCKET, PREFIX))
    for _ in range(3):
        ingest_everything(store, engine)
    with engine.begin() as connection:
        for day in dates_pending_refresh(connection):
            refresh_orders(connection, day)
    clean_run(world, clean)

    assert faults.injected.total() > 0
    assert verdict(world, engine, clean, faults, {}) == []

    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET asset = 'X' WHERE ts = (SELECT min(ts) FROM twap_status)"))
    wrong = verdict(world, engine, clean, faults, {})
    assert "the table is not that of the clean run" in wrong
    assert any(one.startswith("rows changed") for one in wrong)
