"""The root folder ``alembic`` must not hide the package, for any program that starts in a checkout."""

import subprocess
import sys

import pytest

from twap_pipeline.paths import ROOT

_ENTRIES = {
    "python -c": [sys.executable, "-c", "import alembic, sys; print(alembic.__file__)"],
    "python -m": [sys.executable, "-m", "twap_pipeline_tests.where_is_alembic"],
}


@pytest.mark.parametrize("entry", _ENTRIES)
def test_alembic_folder_does_not_hide_the_package(entry: str) -> None:
    process = subprocess.run(_ENTRIES[entry], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "site-packages" in process.stdout, process.stderr


def test_alembic_folder_is_not_a_package() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
