"""Fixture of the Dagster tests: an instance whose runs use the test's database and bucket."""

from collections.abc import Iterator

import dagster as dg
import pytest
from sqlalchemy import URL

from twap_pipeline_tests.factories import Bucket


@pytest.fixture
def instance(database: URL, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An in-memory instance."""
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
