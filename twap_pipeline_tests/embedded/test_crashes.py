"""Integration tests of the embedded PostgreSQL: killed processes, and stale or lost files."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline_tests.embedded.client_process import (
    await_true,
    is_gone,
    kill_client,
    postgres_processes,
    query,
    running_client,
    start_client,
    stop_client,
)

INITDB_MAX_SECONDS = 60
"""Time limit for initdb and the first start on a busy machine."""


def kill_postmaster(directory: Path) -> None:
    data = (directory / "data").resolve()
    pid = find_postmaster(data)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert await_true(lambda: find_postmaster(data) is None, 5)


def start_and_read(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        assert query(server.start(), "SELECT value FROM numbers") == 42


def test_killed_last_client_server_stops_in_two_seconds(stopped: Path) -> None:
    with running_client(stopped) as (client, _):
        kill_client(client)
        killed = time.monotonic()
        assert await_true(lambda: is_gone(stopped), 2), f"still running after {time.monotonic() - killed:.1f} s"
    start_and_read(stopped)


def test_killed_client_others_keep_the_server(stopped: Path) -> None:
    with running_client(stopped) as (client, url), running_client(stopped):
        kill_client(client)
        time.sleep(0.3)
        assert query(url, "SELECT value FROM numbers") == 42


def test_start_while_watchdog_stops_gets_a_server(stopped: Path) -> None:
    for _ in range(2):
        with running_client(stopped) as (client, _):
            kill_client(client)
        start_and_read(stopped)


def is_unfinished(directory: Path) -> bool:
    return any((directory / "data").resolve().parent.glob("unfinished-*/data/PG_VERSION"))


def test_killed_during_initdb_can_be_started_again(directory: Path) -> None:
    """The next start waits for the end of initdb, and deletes what it created."""
    with start_client(directory) as client:
        assert await_true(lambda: is_unfinished(directory), INITDB_MAX_SECONDS)
        kill_client(client)
    with EmbeddedPostgres(directory) as server:
        assert query(server.start(), "SELECT 1") == 1
    assert not is_unfinished(directory)


def test_killed_first_start_leaves_no_process(directory: Path) -> None:
    with start_client(directory) as client:
        assert await_true((directory / "data" / "postmaster.pid").exists, INITDB_MAX_SECONDS)
        kill_client(client)
    assert await_true(lambda: is_gone(directory), INITDB_MAX_SECONDS)


def write_stale_pid(directory: Path, pid: int) -> None:
    data = (directory / "data").resolve()
    lines = [str(pid), str(data), str(int(time.time()) - 99), "1", "", "127.0.0.1", "  1234567  65538", "ready   "]
    (data / "postmaster.pid").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("in_data", [False, True])
def test_stale_pid_file_process_is_not_killed(stopped: Path, in_data: bool) -> None:
    data = (stopped / "data").resolve()
    owner = data.stat()
    # The process belongs to the server's OS user. In the data directory, PostgreSQL would treat it as a postmaster.
    credentials = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["/bin/sleep", "60"], cwd=data if in_data else "/", **credentials) as other:  # type: ignore[call-overload]
        write_stale_pid(stopped, other.pid)
        start_and_read(stopped)
        write_stale_pid(stopped, other.pid)
        with running_client(stopped) as (client, _):
            kill_client(client)
        assert await_true(lambda: not [pid for pid in postgres_processes(stopped) if pid != other.pid], 5)
        assert other.poll() is None
        other.kill()


def test_killed_postmaster_is_replaced_at_the_same_url(stopped: Path) -> None:
    with EmbeddedPostgres(stopped) as server, running_client(stopped) as (_, url):
        assert server.start() == url
        query(url, "CREATE TABLE later_numbers AS SELECT 7 AS value")
        kill_postmaster(stopped)
        assert server.start() == url
        assert query(url, "SELECT value FROM later_numbers") == 7


def test_killed_postmaster_without_clients_is_replaced(stopped: Path) -> None:
    with running_client(stopped) as (client, _):
        kill_postmaster(stopped)
        kill_client(client)
    start_and_read(stopped)


def test_close_with_dead_server_succeeds(stopped: Path) -> None:
    with EmbeddedPostgres(stopped):
        kill_postmaster(stopped)
    start_and_read(stopped)


def test_deleted_directory_server_ends(stopped_copy: Path) -> None:
    with EmbeddedPostgres(stopped_copy) as server:
        data = (stopped_copy / "data").resolve()
        postmaster = find_postmaster(data)
        assert postmaster is not None
        shutil.rmtree(stopped_copy)
        assert query(server.start(), "SELECT 1") == 1
    is_external = data.parent != stopped_copy  # then the data directory still exists, and the server ran until now
    if not is_external:
        assert is_gone(stopped_copy)
        os.kill(postmaster, signal.SIGQUIT)  # it would end by itself, but after up to a minute
    assert await_true(lambda: not Path(f"/proc/{postmaster}/cwd").exists(), 10)
    if is_external:
        shutil.rmtree(data.parent)


def test_close_last_client_waits_for_the_watchdog(stopped: Path) -> None:
    """The closing client or the watchdog stops the server; it has ended when the client is closed."""
    for _ in range(2):
        with running_client(stopped) as (first, _), running_client(stopped) as (second, _):
            kill_client(first)
            stop_client(second)
            assert is_gone(stopped)
