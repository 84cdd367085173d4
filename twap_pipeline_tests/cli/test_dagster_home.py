"""DAGSTER_HOME: Dagster's rules, and one line for a folder or a dagster.yaml that Dagster cannot use."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from twap_pipeline.cli.dagster_runs import dagster_home, open_instance
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.settings import load_settings


@pytest.mark.parametrize("value", ["./dagster", "dagster", '"/srv/dagster"', "~nobody-has-this-name/dagster"])
def test_dagster_home_relative_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    monkeypatch.setenv("DAGSTER_HOME", value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dagster").mkdir()

    with pytest.raises(ConfigurationError, match="DAGSTER_HOME must be an absolute path") as caught:
        dagster_home(load_settings())

    assert str(Path(value)) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["dagster"]


@pytest.mark.parametrize("value", ["/nowhere/not/there", "/proc/version", "~/missing"])
def test_dagster_home_missing_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", value)

    with pytest.raises(ConfigurationError, match=r"is not an existing directory: /.*mkdir -p"):
        dagster_home(load_settings())


def test_dagster_home_with_tilde_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", "~/dagster")
    (tmp_path / "dagster").mkdir()

    assert dagster_home(load_settings()) == tmp_path / "dagster"


POSTGRES = {"username": "dagster", "password": "canary", "hostname": "127.0.0.1", "db_name": "dagster", "port": 9}
BROKEN = {
    "unknown entry": ("bogus_key: 1", 'unexpected config entry "bogus_key" at the root'),
    "not YAML": ("storage: [1\nb: 2", "line 2"),
    "not a mapping": ("- canary", "to parse to dictionary"),
    "wrong type": (
        yaml.safe_dump({"storage": {"postgres": {"postgres_db": {**POSTGRES, "password": 424242}}}}),
        "password",
    ),
    "unset variable": (
        yaml.safe_dump({"storage": {"postgres": {"postgres_db": {**POSTGRES, "password": {"env": "NOT_SET"}}}}}),
        'environment variable "NOT_SET" which is not set',
    ),
    "unusable folder": ("storage: {sqlite: {base_dir: /proc/nowhere}}", "No such file or directory: '/proc/nowhere"),
    "missing class": ("storage: {custom: {module: no_such_module, class: X}}", "no_such_module"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_dagster_yaml_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    content, cause = BROKEN[name]
    (tmp_path / "dagster.yaml").write_text(content)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    with pytest.raises(ConfigurationError) as caught, open_instance(load_settings()):
        pass

    message = str(caught.value)
    assert str(tmp_path / "dagster.yaml") in message
    message = message.replace(str(tmp_path), "")
    assert cause in message
    assert (len(message.splitlines()), len(message) < 400, "canary" in message) == (1, True, False)
    assert "424242" not in message


def occupy(home: Path) -> None:
    home.write_text("a file")


def occupy_configuration(home: Path) -> None:
    (home / "dagster" / "dagster.yaml").mkdir(parents=True)


@pytest.mark.parametrize("damage", [occupy, occupy_configuration])
def test_local_instance_that_cannot_be_created_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("TWAP_HOME", str(tmp_path / "home"))
    damage(tmp_path / "home")

    with pytest.raises(ConfigurationError, match="make it writable, or set TWAP_HOME or DAGSTER_HOME"):
        dagster_home(load_settings())


def test_damaged_storage_names_the_dagster_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error must not name the database of the rows, in whose context the commands use the instance."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with open_instance(load_settings()):
        pass
    (tmp_path / "history" / "runs.db").write_bytes(b"not a database" * 100)

    with (
        pytest.raises(ConfigurationError, match="file is not a database") as caught,
        open_instance(load_settings()) as it,
    ):
        it.get_runs_count()

    assert str(tmp_path) in str(caught.value)
