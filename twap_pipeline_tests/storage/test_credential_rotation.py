"""Passwords of the database that are replaced while processes run: open connections stay, new ones use the new one."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import OperationalError

from twap_pipeline.api import create_app
from twap_pipeline.defs.resources import DatabaseResource
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.engine.engine import open_database
from twap_pipeline.storage.engine.roles import LOADER, grant_role
from twap_pipeline_tests.api.serving import serving
from twap_pipeline_tests.storage.catalog import execute, in_clear


@pytest.fixture
def role(engine: Engine, database: URL, monkeypatch: pytest.MonkeyPatch) -> URL:
    """A loader, whose URL is in the environment."""
    name = f"rotated_{database.database}"
    url = database.set(username=name, password=grant_role(engine, name, LOADER).password)
    monkeypatch.setenv("DATABASE_URL", in_clear(url))
    return url


@pytest.fixture
def rotate(role: URL, database: URL, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that replaces the password in the database and in the environment, and ends all sessions."""

    def replace() -> None:
        execute(database, f"ALTER ROLE {role.username} PASSWORD 'replaced'")
        monkeypatch.setenv("DATABASE_URL", in_clear(role.set(password="replaced")))
        end_sessions(database, role)

    return replace


def end_sessions(database: URL, role: URL) -> None:
    execute(database, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{role.username}'")


def read_user(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT current_user")))


@pytest.fixture(params=["command", "run"])
def opened(request: pytest.FixtureRequest, role: URL) -> Iterator[Engine]:
    """The engine of a command, or of a run, before the password is replaced."""
    settings = load_settings()
    if request.param == "run":
        with DatabaseResource(settings, load_settings).engine() as engine:
            yield engine
    else:
        with open_database(
            settings.database_url_text, settings.home, "test", lambda: load_settings().database_url_text
        ) as (engine, _):
            yield engine


def test_engine_reconnects_with_the_replaced_password(opened: Engine, role: URL, rotate: Callable[[], None]) -> None:
    before = read_user(opened)
    rotate()

    assert (before, read_user(opened)) == (role.username, role.username)


def test_engine_with_fixed_credentials_is_refused(role: URL, rotate: Callable[[], None], tmp_path: Path) -> None:
    """Without the current credentials, a connection after the replacement fails."""
    with open_database(in_clear(role), tmp_path) as (engine, _):
        read_user(engine)
        rotate()
        with pytest.raises(OperationalError, match="password authentication failed"):
            read_user(engine)
        engine.dispose()


def test_open_connection_survives_the_replacement(opened: Engine, role: URL, database: URL) -> None:
    with opened.connect() as connection:
        connection.execute(text("SELECT 1"))
        execute(database, f"ALTER ROLE {role.username} PASSWORD 'replaced'")
        assert connection.scalar(text("SELECT current_user")) == role.username


def test_api_reconnects_with_the_replaced_password(role: URL, rotate: Callable[[], None]) -> None:
    with serving(create_app()) as client:
        paths = ("/readyz", "/api/v2/coverage")
        before = [client.get(path).status_code for path in paths]
        rotate()
        after = [client.get(path).status_code for path in paths]

    assert (before, after) == ([200, 200], [200, 200])


def test_unreadable_settings_keep_the_last_credentials(
    role: URL, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file of a secret can be missing in the middle of a replacement."""

    def fail() -> str:
        raise ConfigurationError("cannot read the file")

    with open_database(in_clear(role), tmp_path, "test", fail) as (engine, _), caplog.at_level(logging.WARNING):
        assert read_user(engine) == role.username

    assert "using the last credentials: cannot read the file" in caplog.text
    assert str(role.password) not in caplog.text
