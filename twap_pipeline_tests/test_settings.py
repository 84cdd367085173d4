"""Settings: environment variables, defaults, validation and secrets."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample.manifest import SampleRequest, SampleSummary, latest_until, write_manifest
from twap_pipeline.settings import Settings, default_home, load_settings, secret_names

pytestmark = pytest.mark.unit

SUMMARY = SampleSummary({}, {})
_FIELDS = sorted(name for name, field in Settings.model_fields.items() if name.upper() != field.alias)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWAP_HOME")
    monkeypatch.delenv("TWAP_START_DATE")


def test_defaults_need_no_environment() -> None:
    settings = load_settings()

    assert settings.database_url_text is None
    assert settings.is_sample_source
    assert settings.home == default_home()
    assert settings.sample_directory == default_home() / "sample"


@pytest.mark.parametrize("name", _FIELDS)
def test_variable_named_like_a_field_is_ignored(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Example: HOME is not TWAP_HOME."""
    before = load_settings()
    monkeypatch.setenv(name.upper(), "/somewhere/else")

    assert load_settings() == before


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("TWAP_START_DATE", "")

    settings = load_settings()

    assert settings.database_url is None
    assert settings.configured_start_date is None


def test_variables_set_the_fields(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TWAP_START_DATE", "2025-09-01")
    monkeypatch.setenv("TWAP_HOME", str(tmp_path))
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://bucket/prefix/")

    settings = load_settings()

    assert (settings.start_date, settings.home) == (date(2025, 9, 1), tmp_path)
    assert settings.source_url == "s3://bucket/prefix/"


def test_dates_of_partitions_are_those_of_the_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TWAP_HOME", str(tmp_path))
    (tmp_path / "sample").mkdir()
    write_manifest(tmp_path / "sample", SampleRequest(datetime(2026, 11, 2, 5, tzinfo=UTC)), SUMMARY)

    settings = load_settings()

    assert (settings.start_date, settings.end_date) == (date(2026, 10, 20), date(2026, 11, 2))
    assert settings.sample.until == datetime(2026, 11, 2, 5, tzinfo=UTC)


def test_dates_of_partitions_without_a_sample_end_today(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They equal those of the sample that is generated now."""
    monkeypatch.setenv("TWAP_HOME", str(tmp_path))
    before = latest_until(datetime.now(UTC))

    settings = load_settings()

    possible = [SampleRequest(before), SampleRequest(latest_until(datetime.now(UTC)))]
    assert settings.start_date in {sample.first_date for sample in possible}
    assert settings.end_date in {sample.last_date for sample in possible}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value", "start"),
    [
        ("DATABASE_URL", "postgresql://u@h/d", date(2025, 8, 17)),
        ("TWAP_SOURCE_URL", "s3://bucket/prefix/", date(2025, 8, 17)),
        ("TWAP_START_DATE", "2025-09-01", date(2025, 9, 1)),
    ],
)
def test_dates_of_partitions_with_a_setting_end_today(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, start: date
) -> None:
    monkeypatch.setenv(variable, value)

    settings = load_settings()

    assert (settings.start_date, settings.end_date) == (start, None)


def test_password_is_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:canary@h/d")

    settings = load_settings()

    assert "canary" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.database_url_text == "postgresql://u:canary@h/d"


def test_secrets_are_the_settings_without_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in secret_names():
        monkeypatch.setenv(name, "canary")

    hidden = [name for name, text in load_settings().model_dump(mode="json").items() if text == "**********"]

    assert [Settings.model_fields[name].alias for name in hidden] == list(secret_names()) != []


@pytest.mark.parametrize("name", secret_names())
def test_secret_is_read_from_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv(name, "canary")
    expected = load_settings()
    monkeypatch.setenv(name, "")  # empty counts as unset
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    (tmp_path / "secret").write_text("canary\n")  # editors and `echo` end a file with a line break

    assert load_settings() == expected


@pytest.mark.parametrize(
    ("content", "cause"),
    [(None, "No such file or directory"), (b" \n", "is empty"), (b"canary \xff", "not a text file in UTF-8")],
)
def test_unusable_secret_file_error_names_variable_and_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, cause: str
) -> None:
    path = tmp_path / "secret"
    monkeypatch.setenv("DATABASE_URL_FILE", str(path))
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=cause) as caught:
        load_settings()

    message = str(caught.value)
    assert f"{path} of DATABASE_URL_FILE" in message
    assert "canary" not in message


def test_secret_with_value_and_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:canary@h/d")
    monkeypatch.setenv("DATABASE_URL_FILE", "/run/secrets/database_url")

    with pytest.raises(ConfigurationError, match="DATABASE_URL and DATABASE_URL_FILE are both set") as caught:
        load_settings()

    assert "canary" not in str(caught.value)


def test_invalid_value_error_names_variable_without_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_START_DATE", "canary")

    with pytest.raises(ConfigurationError, match="TWAP_START_DATE") as caught:
        load_settings()

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["(", "no-groups", r"(?P<year>\d{4})-(?P<month>\d\d)"])
def test_key_date_pattern_without_date_groups_is_invalid(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.setenv("TWAP_KEY_DATE_PATTERN", pattern)

    with pytest.raises(ConfigurationError, match="TWAP_KEY_DATE_PATTERN"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWAP_ASSET_KEY_PREFIX", "/hyperliquid"),
        ("TWAP_ASSET_KEY_PREFIX", "hyper liquid"),
        ("TWAP_ASSET_GROUP", "a-b"),
        ("TWAP_ASSET_OWNERS", "finance"),
        ("TWAP_ASSET_OWNERS", "team:finance,team:"),
    ],
)
def test_asset_setting_that_dagster_rejects_is_invalid(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=f"{name}: Value error, must be"):
        load_settings()


def test_asset_settings_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_ASSET_KEY_PREFIX", "hyperliquid/twap")
    monkeypatch.setenv("TWAP_ASSET_OWNERS", "team:finance, ops@example.com")

    settings = load_settings()

    assert settings.asset_key_prefix_list == ("hyperliquid", "twap")
    assert settings.asset_owners == ("team:finance", "ops@example.com")


@pytest.mark.parametrize("prefixes", ["a", "/a/", "a*/", "a/,b", "a//b/", ","])
def test_fills_prefix_that_is_no_folder_is_refused(monkeypatch: pytest.MonkeyPatch, prefixes: str) -> None:
    monkeypatch.setenv("TWAP_FILLS_PREFIXES", prefixes)

    with pytest.raises(ConfigurationError, match=r"TWAP_FILLS_PREFIXES.*must be folders such as by_dex/\*/fills/"):
        load_settings()


@pytest.mark.parametrize(
    ("variables", "url", "start"),
    [
        ({"TWAP_FILLS_URL": "s3://fills/"}, "s3://fills/", date(2025, 7, 28)),
        ({"TWAP_FILLS_URL": "s3://fills/", "TWAP_FILLS_START_DATE": "2026-01-01"}, "s3://fills/", date(2026, 1, 1)),
        ({"TWAP_SOURCE_URL": "s3://bucket/"}, None, date(2025, 7, 28)),
        ({"DATABASE_URL": "postgresql://u@h/d"}, None, date(2025, 7, 28)),
        ({"TWAP_HOME": "/home", "TWAP_START_DATE": "2026-02-01"}, "file:///home/sample/fills/", date(2026, 2, 1)),
    ],
)
def test_fills_url_and_first_day_by_source(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str | None, start: date
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert (settings.resolved_fills_url, settings.fills_start_date, settings.fills_end_date) == (url, start, None)
