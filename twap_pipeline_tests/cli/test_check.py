"""The command ``check``."""

from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, text

from twap_pipeline.cli.dagster_runs import describe_storage
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.paths import ROOT
from twap_pipeline.settings import load_settings
from twap_pipeline_tests.cli.command_runner import Command, key
from twap_pipeline_tests.factories import Bucket, event


def test_check_prints_one_line_per_part(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1)])

    outcome = command("check")

    assert outcome.status == 0
    assert [line.split()[:2] for line in outcome.out.splitlines()] == [
        ["ok", name] for name in ("database", "revision", "drift", "source", "definitions", "dagster")
    ] + [["warn", "dagster"]]


def test_check_with_drift_fails_and_runs_the_other_parts(command: Command, bucket: Bucket, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX twap_status_asset_idx"))

    outcome = command("check")

    assert outcome.status == 1
    assert "FAIL  drift        1 differences from the declared tables" in outcome.out
    assert "ok    definitions" in outcome.out


@pytest.fixture
def postgres_storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of DAGSTER_HOME, with the production dagster.yaml."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "deploy" / "dagster.yaml").read_bytes())
    return tmp_path


def test_check_without_dagster_url_fails_in_one_line(
    recorded_command: Command, bucket: Bucket, database: URL, postgres_storage: Path
) -> None:
    bucket.put(key("a"), [event(1)])

    outcome = recorded_command("check")

    assert outcome.status == 1
    assert 'environment variable "DAGSTER_POSTGRES_URL" which is not set' in outcome.out.splitlines()[-1]


@pytest.mark.parametrize("driver", ["", "+psycopg"])
def test_dagster_storage_with_another_driver_is_refused(
    monkeypatch: pytest.MonkeyPatch, empty_database: URL, postgres_storage: Path, driver: str
) -> None:
    url = empty_database.set(drivername=f"postgresql{driver}").render_as_string(hide_password=False)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)

    with pytest.raises(ConfigurationError, match=r"let it start with postgresql\+psycopg2://"):
        describe_storage(load_settings())


def test_dagster_storage_on_postgresql_omits_the_password(
    monkeypatch: pytest.MonkeyPatch, empty_database: URL, postgres_storage: Path
) -> None:
    url = empty_database.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)

    description = describe_storage(load_settings())

    assert description.startswith("PostgreSQL at postgresql+psycopg2://")
    assert f"/{empty_database.database}" in description
    assert (empty_database.password or "***") not in description
