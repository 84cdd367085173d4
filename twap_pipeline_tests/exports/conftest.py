"""Fixtures of the tests of exports."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline_tests.databases import create_database


@pytest.fixture(scope="module")
def shared_engine(server_url: str, template: str) -> Iterator[Engine]:
    """An engine on a database that the tests of a module share: the module fills it, the tests only read."""
    engine = make_engine(create_database(server_url, template))
    yield engine
    engine.dispose()
