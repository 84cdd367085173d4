"""What the tests of the database share: both forms of ``twap_status``."""

import pytest
from sqlalchemy import Engine

from twap_pipeline.storage.months.conversion import partition_by_month


@pytest.fixture
def partitioned(engine: Engine) -> Engine:
    """Empty tables, ``twap_status`` partitioned."""
    partition_by_month(engine, print)
    return engine


@pytest.fixture(params=["plain", "partitioned"])
def both_table_forms(request: pytest.FixtureRequest) -> None:
    """Run the test on the plain ``twap_status`` and on the partitioned one."""
    if request.param == "partitioned":
        request.getfixturevalue("partitioned")
