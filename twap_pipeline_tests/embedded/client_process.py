"""Helpers for tests of the embedded PostgreSQL: client processes, and checks of the server's processes and locks."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from twap_pipeline.embedded.locks import FileLock
from twap_pipeline.embedded.paths import EXTERNAL_ROOT

IS_ROOT = os.geteuid() == 0

_CLIENT = """
import sys
from pathlib import Path
import psycopg
from twap_pipeline.embedded import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]))
url = server.start()
psycopg.connect(url).close()
print(url, flush=True)
sys.stdin.readline()
server.close()
print("closed", flush=True)
"""


def query(url: str, statement: str) -> Any:
    """Run a statement; return the first column of the first row, or None."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def start_client(directory: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a client process. It connects, prints the URL, reads a line, closes its client and prints ``closed``."""
    return subprocess.Popen(
        [sys.executable, "-c", _CLIENT, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )


@contextlib.contextmanager
def running_client(
    directory: Path, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a client process for the duration of the context; yield the process and its URL."""
    with start_client(directory, environment) as client:
        url = read_line(client)
        assert url, "the client did not start: see its stderr"
        yield client, url
        if client.poll() is None:
            stop_client(client)


def read_line(client: subprocess.Popen[str]) -> str:
    assert client.stdout is not None
    return client.stdout.readline().strip()


def stop_client(client: subprocess.Popen[str]) -> None:
    """Close the client of a process, and wait until the process has ended."""
    assert client.stdin is not None
    client.stdin.write("\n")
    client.stdin.flush()
    assert read_line(client) == "closed"
    assert client.wait() == 0


def kill_client(client: subprocess.Popen[str]) -> None:
    client.send_signal(signal.SIGKILL)
    client.wait()


_EXIT_SECONDS = 1.0


def postgres_processes(directory: Path) -> list[int]:
    """Return the ids of processes whose working directory is the data directory, as for all processes of PostgreSQL."""
    data = (directory / "data").resolve()
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.joinpath("cwd").readlink() == data and process.joinpath("cmdline").read_bytes():
                pids.append(int(process.name))
    return pids


def is_free(directory: Path, lock_name: str) -> bool:
    """Return whether no process holds a lock of the directory."""
    lock = FileLock(directory / lock_name)
    acquired = lock.try_acquire()
    lock.close()
    return acquired


def is_gone(directory: Path) -> bool:
    """Return whether all processes of the server have ended.

    PostgreSQL removes its pid file just before its last process ends; that process gets `_EXIT_SECONDS`.
    """
    return await_true(lambda: is_free(directory, "server.lock") and not postgres_processes(directory), _EXIT_SECONDS)


def await_true(condition: Callable[[], object], timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def assert_stopped(directory: Path) -> None:
    """Assert that no process of the server is running, or ends soon."""
    assert await_true(lambda: is_free(directory, "watchdog.lock"), 10), "the watchdog has not ended"
    assert is_gone(directory), "the server has not ended"


def discard(directory: Path) -> None:
    """Assert that no process is running, and delete the directory outside of the test's own directory."""
    if not (directory / "clients.lock").exists():
        return
    assert_stopped(directory)
    parent = (directory / "data").resolve().parent
    if parent.parent == EXTERNAL_ROOT:
        shutil.rmtree(parent)
