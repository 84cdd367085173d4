"""What the tests of the database share: both forms of ``twap_status``, and a copy of the code to deploy or break."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import Engine

from twap_pipeline.paths import ROOT
from twap_pipeline.storage.months.conversion import partition_by_month


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the code and its migrations."""
    for name in ("twap_pipeline", "alembic"):
        shutil.copytree(ROOT / name, tmp_path / "code" / name)
    for name in ("alembic.ini", "workspace.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / "code" / name)
    return tmp_path / "code"


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
