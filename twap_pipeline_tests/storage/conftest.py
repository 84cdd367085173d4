"""What the tests of the database share: a copy of the code, to be deployed or broken."""

import shutil
from pathlib import Path

import pytest

from twap_pipeline.paths import ROOT


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the code and its migrations."""
    for name in ("twap_pipeline", "alembic"):
        shutil.copytree(ROOT / name, tmp_path / "code" / name)
    for name in ("alembic.ini", "workspace.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / "code" / name)
    return tmp_path / "code"
