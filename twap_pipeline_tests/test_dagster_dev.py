"""Plain ``dagster dev`` through GraphQL, and the root folder ``alembic``, which must not hide the package."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.paths import ROOT
from twap_pipeline_tests.dagster_client import DagsterWeb, checkout, dagster_dev
from twap_pipeline_tests.factories import DAY, Bucket, event

_ASSETS = (
    """{ assetNodes { assetKey { path } dependencyKeys { path } partitionStats { numMaterialized numFailed } } }"""
)


def asset_nodes(web: DagsterWeb) -> dict[str, dict[str, object]]:
    return {node["assetKey"]["path"][-1]: node for node in web.query(_ASSETS)["assetNodes"]}


@pytest.mark.timeout(300)
def test_dagster_dev_materializes_a_partition(
    engine: Engine, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(f"hourly/{DAY:%Y/%m/%d}/12/a.parquet", [event(1), event(2)])

    with dagster_dev(checkout(tmp_path / "checkout"), {"TWAP_SOURCE_URL": bucket.directory.as_uri() + "/"}) as web:
        locations, before = web.locations(), asset_nodes(web)
        status = web.run_to_end("__ASSET_JOB", assets=["twap_status"], partition=str(DAY))
        after = asset_nodes(web)

    assert locations == ["twap_pipeline"]
    assert sorted(before) == ["twap_daily_stats", "twap_orders", "twap_s3_objects", "twap_status"]
    assert before["twap_status"]["dependencyKeys"] == [{"path": ["twap_s3_objects"]}]
    assert status == "SUCCESS"
    assert after["twap_status"]["partitionStats"] == {"numMaterialized": 1, "numFailed": 0}
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one() == 2
    storage = tmp_path / "checkout" / ".twap" / "dagster" / "history"
    assert storage.is_dir(), "runs are stored in the checkout, not in a temporary folder"


_ENTRIES = {
    "python -c": [sys.executable, "-c", "import alembic, sys; print(alembic.__file__)"],
    "python -m": [sys.executable, "-m", "twap_pipeline_tests.where_is_alembic"],
    "alembic": [str(Path(sys.executable).with_name("alembic")), "--version"],
    "dagster": [str(Path(sys.executable).with_name("dagster")), "definitions", "validate"],
}


@pytest.mark.parametrize("entry", _ENTRIES)
def test_alembic_folder_does_not_hide_the_package(entry: str) -> None:
    process = subprocess.run(_ENTRIES[entry], cwd=ROOT, capture_output=True, text=True, check=False)

    assert process.returncode == 0, process.stderr
    if entry.startswith("python"):
        assert "site-packages" in process.stdout


def test_alembic_folder_is_not_a_package() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
