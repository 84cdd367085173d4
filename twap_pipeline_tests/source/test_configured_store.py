"""Unit tests of the object store that the settings name."""

from pathlib import Path

import pytest

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample import SampleRequest
from twap_pipeline.settings import Settings
from twap_pipeline.source import configured_store
from twap_pipeline.source.configured_store import open_configured_store

pytestmark = pytest.mark.unit


def test_configured_source_is_opened_without_a_sample(tmp_path: Path) -> None:
    settings = Settings(
        TWAP_HOME=tmp_path / "home",
        DATABASE_URL="postgresql://host/db",
        TWAP_SOURCE_URL=f"{tmp_path.as_uri()}/",
        TWAP_FILLS_URL=f"{tmp_path.as_uri()}/fills/",
    )

    urls = [open_configured_store(settings, data_set).url for data_set in (TWAP_STATUS, TWAP_FILLS)]

    assert urls == [f"{tmp_path.as_uri()}/", f"{tmp_path.as_uri()}/fills/"]
    assert not (tmp_path / "home").exists()


def test_source_unset_with_database_is_refused(tmp_path: Path) -> None:
    settings = Settings(TWAP_HOME=tmp_path / "home", DATABASE_URL="postgresql://host/db")

    with pytest.raises(ConfigurationError, match=r"TWAP_SOURCE_URL is not.*Set TWAP_SOURCE_URL="):
        open_configured_store(settings)

    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("data_set", "folder"), [(TWAP_STATUS, "statuses"), (TWAP_FILLS, "fills")])
def test_source_unset_generates_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_set: DataSet, folder: str
) -> None:
    generated: list[tuple[Path, SampleRequest]] = []

    def generate(directory: Path, request: SampleRequest) -> None:
        generated.append((directory, request))
        (directory / folder).mkdir(parents=True)

    monkeypatch.setattr(configured_store, "generate_sample", generate)
    settings = Settings(TWAP_HOME=tmp_path)

    store = open_configured_store(settings, data_set)

    assert store.url == f"{tmp_path.as_uri()}/sample/{folder}/"
    assert generated == [(tmp_path / "sample", settings.sample)]
