"""Fixtures of the API's tests."""

from collections.abc import Iterator

import httpx2
import pytest
from sqlalchemy import URL, Engine

from twap_pipeline.api import create_app
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline_tests.api.serving import Tables, make_settings, serving
from twap_pipeline_tests.databases import create_database
from twap_pipeline_tests.factories import Bucket


@pytest.fixture
def tables(engine: Engine, bucket: Bucket) -> Tables:
    """Empty tables at head."""
    return Tables(engine, bucket)


@pytest.fixture
def client(database: URL) -> Iterator[httpx2.Client]:
    """A client of an app on `database`."""
    with serving(create_app(make_settings(database))) as client:
        yield client


@pytest.fixture(scope="module")
def shared_tables(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    """Tables that the tests of a module share: a fixture of the module fills them, the tests only read."""
    engine = make_engine(create_database(server_url, template))
    yield Tables(engine, Bucket(tmp_path_factory.mktemp("bucket")))
    engine.dispose()


@pytest.fixture(scope="module")
def shared_client(shared_tables: Tables) -> Iterator[httpx2.Client]:
    """A client of one app on `shared_tables`."""
    with serving(create_app(make_settings(shared_tables.engine.url))) as client:
        yield client


@pytest.fixture(scope="session")
def idle_client(server_url: str, template: str) -> Iterator[httpx2.Client]:
    """A client of one app on empty tables, for tests that write nothing."""
    with serving(create_app(make_settings(create_database(server_url, template)))) as client:
        yield client
