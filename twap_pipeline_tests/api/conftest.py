"""Fixtures of the API's tests."""

from collections.abc import Iterator

import httpx2
import pytest
from sqlalchemy import URL, Engine

from twap_pipeline.api import create_app
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


@pytest.fixture(scope="session")
def idle_client(server_url: str, template: str) -> Iterator[httpx2.Client]:
    """A client of one app on empty tables, for tests that write nothing."""
    with serving(create_app(make_settings(create_database(server_url, template)))) as client:
        yield client
