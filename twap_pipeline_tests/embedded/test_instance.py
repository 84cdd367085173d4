"""The life of the embedded PostgreSQL when nothing goes wrong: start, share, leave. Real servers."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline_tests.embedded.client_process import (
    discard,
    is_free,
    is_gone,
    leave,
    postgres_processes,
    query,
    read_line,
    start_user,
    using,
)

URL = re.compile(r"postgresql://twap:([\w-]{32})@127\.0\.0\.1:(\d+)/twap")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "home" / "postgres"
    yield directory
    discard(directory)


def test_the_first_start_makes_a_durable_private_cluster(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        url = server.start()
        assert URL.fullmatch(url)
        assert query(url, "SELECT current_database() || '/' || current_user") == "twap/twap"
        shown = {
            name: query(url, f"SHOW {name}") for name in ("fsync", "full_page_writes", "listen_addresses", "timezone")
        }
        assert shown == {"fsync": "on", "full_page_writes": "on", "listen_addresses": "127.0.0.1", "timezone": "UTC"}
        assert query(url, "SHOW unix_socket_directories") == ""
        assert query(url, "SHOW server_encoding") == "UTF8"
        assert query(url, "SELECT lower('ÄΩ')") == "äω"
        assert postgres_processes(directory)
    assert is_gone(directory)
    with pytest.raises(psycopg.OperationalError):
        query(url, "SELECT 1")


def test_a_restart_keeps_data_and_port(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        first = server.start()
        query(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(directory) as server:
        assert server.start() == first
        assert query(first, "SELECT answer FROM kept") == 42
    assert directory.joinpath("server.log.1").exists()


def test_a_port_that_somebody_took_is_left_to_him(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        first = server.start()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(conninfo_to_dict(first)["port"] or 0)))
        other.listen()
        with EmbeddedPostgres(directory) as server:
            second = server.start()
            assert second != first
            assert query(second, "SELECT 1") == 1
    with EmbeddedPostgres(directory) as server:
        assert server.start() == second


def test_each_use_counts(directory: Path) -> None:
    first, second = EmbeddedPostgres(directory), EmbeddedPostgres(directory)
    url = first.start()
    assert first.start() == url
    assert second.start() == url
    first.close()
    first.close()
    assert query(url, "SELECT 1") == 1
    second.close()
    assert is_gone(directory)
    assert first.start() == url
    first.close()
    assert is_gone(directory)


def test_processes_share_one_server_and_the_last_one_stops_it(directory: Path) -> None:
    with using(directory) as (first, url), using(directory) as (second, same):
        assert url == same
        leave(first)
        assert query(url, "SELECT 1") == 1
        leave(second)
        assert is_gone(directory)


def test_processes_that_start_at_once_make_one_cluster(directory: Path) -> None:
    users = [start_user(directory) for _ in range(3)]
    urls = [read_line(user) for user in users]
    assert URL.fullmatch(urls[0])
    assert set(urls) == {urls[0]}
    assert query(urls[0], "SELECT count(*) FROM pg_database WHERE datname = 'twap'") == 1
    for user in users:
        leave(user)
        user.communicate()
    assert is_gone(directory)
    assert not list((directory / "data").resolve().parent.glob("unfinished-*"))


def test_processes_that_leave_at_once_leave_nothing_behind(directory: Path) -> None:
    for _ in range(3):
        users = [start_user(directory) for _ in range(4)]
        for user in users:
            assert URL.fullmatch(read_line(user))
        for user in users:
            assert user.stdin is not None
            user.stdin.write("\n")
            user.stdin.flush()
        for user in users:
            assert read_line(user) == "left"
        assert is_gone(directory)
        for user in users:
            user.communicate()


def test_ensure_running_holds_one_use_until_the_process_ends(directory: Path) -> None:
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
    done = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True, check=True)
    assert URL.fullmatch(done.stdout.strip())
    assert is_gone(directory)


def test_a_forked_child_does_not_count_but_can(directory: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from twap_pipeline.embedded import ensure_running, EmbeddedPostgres
from twap_pipeline_tests.embedded.client_process import is_gone, query
directory = Path(sys.argv[1])
server = EmbeddedPostgres(directory)
server.start()
stop, stopped = os.pipe(), os.pipe()
child = os.fork()
if not child:
    server.close()                                            # not this process's use: nothing happens
    os.write(stopped[1], b"x")
    os.read(stop[0], 1)
    assert query(ensure_running(directory), "SELECT 1") == 1  # a use of its own
    sys.exit(0)
os.read(stopped[0], 1)
assert query(server.start(), "SELECT 1") == 1
server.close()
assert is_gone(directory), "the child still held the use"
os.write(stop[1], b"x")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", code, str(directory)], check=True)
    assert is_gone(directory)


def test_a_second_watcher_ends_at_once_and_the_first_with_the_server(directory: Path) -> None:
    watcher = [sys.executable, "-m", "twap_pipeline.embedded.watchdog", str(directory)]
    with EmbeddedPostgres(directory) as server:
        assert not is_free(directory, "watcher.lock")
        subprocess.run(watcher, check=True, timeout=20)
        assert query(server.start(), "SELECT 1") == 1


def test_programs_started_by_a_user_do_not_count(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    server.start()
    with subprocess.Popen(["/bin/sleep", "60"], close_fds=False) as other:
        server.close()
        assert is_gone(directory)
        other.kill()
    assert os.path.lexists(directory / "data")
