"""Settings come from their own variables and from nothing else."""

from datetime import date
from pathlib import Path

import pytest

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.settings import Settings, default_home, load_settings

pytestmark = pytest.mark.unit

_FIELDS = sorted(Settings.model_fields)


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWAP_HOME")


def test_the_defaults_need_no_environment() -> None:
    settings = load_settings()

    assert settings.database_url_text is None
    assert settings.start_date == date(2025, 8, 17)
    assert settings.home == default_home()
    assert settings.effective_source_url == (default_home() / "sample").as_uri() + "/"


@pytest.mark.parametrize("name", _FIELDS)
def test_a_variable_named_like_a_field_is_not_ours(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """HOME above all."""
    before = load_settings()
    if name.upper() != Settings.model_fields[name].alias:
        monkeypatch.setenv(name.upper(), "/somewhere/else")

    assert load_settings() == before


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("TWAP_START_DATE", "")

    assert load_settings().database_url is None


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TWAP_START_DATE", "2025-09-01")
    monkeypatch.setenv("TWAP_HOME", str(tmp_path))
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://bucket/prefix/")

    settings = load_settings()

    assert (settings.start_date, settings.home) == (date(2025, 9, 1), tmp_path)
    assert settings.effective_source_url == "s3://bucket/prefix/"


def test_the_password_is_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:canary@h/d")

    settings = load_settings()

    assert "canary" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.database_url_text == "postgresql://u:canary@h/d"


def test_an_unreadable_value_is_an_error_that_names_the_variable_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_START_DATE", "canary")

    with pytest.raises(ConfigurationError, match="TWAP_START_DATE") as caught:
        load_settings()

    assert "canary" not in str(caught.value)
