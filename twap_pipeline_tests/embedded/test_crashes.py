"""The embedded PostgreSQL when processes are killed, files are stale or lost, and starts fail. Real servers."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline_tests.embedded.client_process import (
    await_true,
    discard,
    is_gone,
    kill,
    leave,
    postgres_processes,
    query,
    start_user,
    using,
)


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


def kill_postmaster(directory: Path) -> None:
    data = (directory / "data").resolve()
    pid = find_postmaster(data)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert await_true(lambda: find_postmaster(data) is None, 5)


def start_and_read(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        assert query(server.start(), "SELECT answer FROM kept") == 42


def test_the_server_of_a_killed_user_stops_within_two_seconds(stopped: Path) -> None:
    with using(stopped) as (user, _):
        kill(user)
        killed = time.monotonic()
        assert await_true(lambda: is_gone(stopped), 2), f"still there after {time.monotonic() - killed:.1f} s"
    start_and_read(stopped)


def test_a_killed_user_takes_nothing_from_the_others(stopped: Path) -> None:
    with using(stopped) as (user, url), using(stopped):
        kill(user)
        time.sleep(0.3)
        assert query(url, "SELECT answer FROM kept") == 42


def test_who_starts_while_the_watcher_stops_gets_a_server(stopped: Path) -> None:
    for _ in range(5):
        with using(stopped) as (user, _):
            kill(user)
        start_and_read(stopped)


def unfinished(directory: Path) -> bool:
    return any((directory / "data").resolve().parent.glob("unfinished-*/data/PG_VERSION"))


def starting(directory: Path) -> bool:
    return (directory / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize("stage", [unfinished, starting])
def test_a_first_start_that_is_killed_leaves_a_directory_that_starts(directory: Path, stage: object) -> None:
    assert callable(stage)
    with start_user(directory) as user:
        assert await_true(lambda: stage(directory), 20)
        kill(user)
    assert unfinished(directory) or starting(directory) or not postgres_processes(directory)
    with EmbeddedPostgres(directory) as server:
        assert query(server.start(), "SELECT 1") == 1
    assert not list((directory / "data").resolve().parent.glob("unfinished-*"))


@pytest.mark.parametrize("stage", [unfinished, starting])
def test_nothing_runs_on_after_a_killed_first_start(directory: Path, stage: object) -> None:
    assert callable(stage)
    with start_user(directory) as user:
        assert await_true(lambda: stage(directory), 20)
        kill(user)
    assert await_true(lambda: is_gone(directory), 5)


def test_a_killed_initdb_is_done_again(directory: Path) -> None:
    directory.mkdir(parents=True)
    half = directory / "unfinished-abc" / "data"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(directory) as server:
        assert query(server.start(), "SELECT 1") == 1


def write_stale_pid(directory: Path, pid: int) -> None:
    data = (directory / "data").resolve()
    lines = [str(pid), str(data), str(int(time.time()) - 99), "1", "", "127.0.0.1", "  1234567  65538", "ready   "]
    (data / "postmaster.pid").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("in_data", [False, True])
def test_an_innocent_process_of_a_stale_pid_file_survives(stopped: Path, in_data: bool) -> None:
    data = (stopped / "data").resolve()
    owner = data.stat()
    # Of the server's own user, at worst in its very directory: what PostgreSQL itself takes for another postmaster.
    drop = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["/bin/sleep", "60"], cwd=data if in_data else "/", **drop) as innocent:  # type: ignore[call-overload]
        write_stale_pid(stopped, innocent.pid)
        start_and_read(stopped)
        write_stale_pid(stopped, innocent.pid)
        with using(stopped) as (user, _):
            kill(user)
        assert await_true(lambda: not [pid for pid in postgres_processes(stopped) if pid != innocent.pid], 5)
        assert innocent.poll() is None
        innocent.kill()


def test_a_killed_postmaster_is_replaced_at_the_same_url(stopped: Path) -> None:
    with EmbeddedPostgres(stopped) as server, using(stopped) as (_, url):
        assert server.start() == url
        query(url, "CREATE TABLE late AS SELECT 7 AS answer")
        kill_postmaster(stopped)
        assert server.start() == url
        assert query(url, "SELECT answer FROM late") == 7


def test_a_killed_postmaster_without_users_is_replaced(stopped: Path) -> None:
    with using(stopped) as (user, _):
        kill_postmaster(stopped)
        kill(user)
    start_and_read(stopped)


def test_leaving_a_dead_server_is_no_error(stopped: Path) -> None:
    with EmbeddedPostgres(stopped):
        kill_postmaster(stopped)
    start_and_read(stopped)


def test_deleting_the_directory_below_a_user_ends_well(stopped: Path) -> None:
    with EmbeddedPostgres(stopped) as server:
        data = (stopped / "data").resolve()
        postmaster = find_postmaster(data)
        assert postmaster is not None
        shutil.rmtree(stopped)
        assert query(server.start(), "SELECT 1") == 1
    outside = data.parent != stopped  # then the data are still there, and so was the server, until now
    if not outside:
        assert is_gone(stopped)
        os.kill(postmaster, signal.SIGQUIT)  # it would end by itself, but only within a minute
    assert await_true(lambda: not Path(f"/proc/{postmaster}/cwd").exists(), 10)
    if outside:
        shutil.rmtree(data.parent)


def test_the_last_to_leave_waits_for_the_watcher(stopped: Path) -> None:
    """Whether the leaver or the waiting watcher gets to stop the server, it is gone when the leaver has left."""
    for _ in range(5):
        with using(stopped) as (first, _), using(stopped) as (second, _):
            kill(first)
            leave(second)
            assert is_gone(stopped)
