"""What the tests of Dagster's side share: an instance whose runs write to the test's database and read its bucket."""

from collections.abc import Iterator

import dagster as dg
import pytest
from sqlalchemy import URL

from twap_pipeline_tests.factories import Bucket


@pytest.fixture
def instance(database: URL, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance that keeps nothing."""
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
