"""What the tests of the embedded PostgreSQL look at and play with: its processes, and other processes that use it."""

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

_USE = """
import sys
from pathlib import Path
from twap_pipeline.embedded import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), flush=True)
sys.stdin.readline()
server.close()
print("left", flush=True)
"""


def query(url: str, statement: str) -> Any:
    """Run a statement; the first column of the first row, or none."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def start_user(directory: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a process that uses the server until it reads a line, and then says that it has left."""
    return subprocess.Popen(
        [sys.executable, "-c", _USE, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )


@contextlib.contextmanager
def using(directory: Path, environment: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Have another process use the server for a block; yield it and the URL that it got."""
    with start_user(directory, environment) as user:
        url = read_line(user)
        assert url, "no start: see its standard error"
        yield user, url
        if user.poll() is None:
            leave(user)


def read_line(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return user.stdout.readline().strip()


def leave(user: subprocess.Popen[str]) -> None:
    """Tell a user to leave, and wait until it has ended."""
    assert user.stdin is not None
    user.stdin.write("\n")
    user.stdin.flush()
    assert read_line(user) == "left"
    assert user.wait() == 0


def kill(user: subprocess.Popen[str]) -> None:
    user.send_signal(signal.SIGKILL)
    user.wait()


_LAST_MOMENT = 1.0


def postgres_processes(directory: Path) -> list[int]:
    """List the processes that have the data directory as their working directory, as all of PostgreSQL's do."""
    data = (directory / "data").resolve()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.joinpath("cwd").readlink() == data and process.joinpath("cmdline").read_bytes():
                found.append(int(process.name))
    return found


def is_free(directory: Path, lock_name: str) -> bool:
    """Whether nobody holds a lock of the directory."""
    lock = FileLock(directory / lock_name)
    free = lock.try_acquire()
    lock.close()
    return free


def is_gone(directory: Path) -> bool:
    """Whether no process of the server is left, or only one in its last moment.

    PostgreSQL removes its pid file, by which it is known to have stopped, just before it ends.
    """
    return await_true(lambda: is_free(directory, "server.lock") and not postgres_processes(directory), _LAST_MOMENT)


def await_true(condition: Callable[[], object], timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def discard(directory: Path) -> None:
    """Check that nothing is left running, and remove what lies outside of the test's own directory."""
    if not (directory / "users.lock").exists():
        return
    assert await_true(lambda: is_free(directory, "watcher.lock"), 10), "the watcher has not ended"
    assert is_gone(directory), "the server has not ended"
    store = (directory / "data").resolve().parent
    if store.parent == EXTERNAL_ROOT:
        shutil.rmtree(store)
