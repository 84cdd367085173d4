"""A real PostgreSQL of our own, from a wheel, for whoever has configured no database.

One server per directory, shared by all processes that use it and stopped when none does. Everything is decided by
``flock``, which the kernel releases however a process ends:

- ``start.lock``, exclusive: somebody is starting, adopting or leaving the server.
- ``users.lock``, shared: one for each use; exclusive: nobody uses the server, and the holder stops it.
- ``watchdog.lock``, exclusive: a watcher (``watcher``) stands by to stop the server.
- ``server.lock``, exclusive: inherited by the server's processes; some of them live.

The locks are taken in this order. As root the server runs as another user, and if that one cannot reach the directory,
data and programs lie under ``/var/lib/twap-pipeline/`` (``placement``). The data stay until they are deleted.

Here belong the uses and their end; the parts of a start are in the modules of this package.
"""

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from twap_pipeline.embedded import watchdog
from twap_pipeline.embedded.binaries import find_installation
from twap_pipeline.embedded.locks import FileLock
from twap_pipeline.embedded.paths import make_directory, resolve_server_paths
from twap_pipeline.embedded.server import ensure_started
from twap_pipeline.embedded.server_log import ServerLog
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline.errors import EmbeddedDatabaseError

_LOCK_TIMEOUT_SECONDS = 150.0  # more than another process needs for a start or a stop


class _ProcessState:
    """What all uses of this process share; a forked child begins anew."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lock = threading.RLock()
        self.servers: dict[Path, EmbeddedPostgres] = {}


class EmbeddedPostgres:
    """One use of the server of a directory.

    Args:
        directory: Where everything is kept; made by the first start. Its parents stay as they are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._start_lock = FileLock(self._directory / "start.lock")
        self._users_lock = FileLock(self._directory / "users.lock")
        self._server_lock = FileLock(self._directory / "server.lock")
        self._data = self._directory / "data"
        self._url = ""

    def start(self) -> str:
        """Make sure that the server runs, and that it will while this use lasts; again at will.

        Returns:
            ``postgresql://twap:<password>@127.0.0.1:<port>/twap``.

        Raises:
            EmbeddedDatabaseError: Says what failed and what to do.
        """
        with _process.lock:
            if not self._users_lock.held or find_postmaster(self._data) is None:
                self._release()  # nothing of an earlier start may count: its locks may have been deleted
                self._url = self._start()
            return self._url

    def close(self) -> None:
        """End this use; if it was the last, the server is stopped when this returns.

        Raises:
            EmbeddedDatabaseError: The server does not stop, or somebody else's start does not end.
        """
        with _process.lock:
            if not self._users_lock.held:
                return
            try:
                # One by one: of two who leave at once, each would see the other's use, and none stop the server.
                self._start_lock.acquire(timeout_seconds=_LOCK_TIMEOUT_SECONDS)
                if self._users_lock.try_acquire():
                    self._stop()
                else:
                    # Others use it, or the watcher was quicker and is stopping it: then this waits for the watcher.
                    self._users_lock.acquire(shared=True, timeout_seconds=_LOCK_TIMEOUT_SECONDS)
            finally:
                self._release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> str:
        if sys.platform == "win32":
            raise EmbeddedDatabaseError("the local PostgreSQL runs on Linux and macOS only: set DATABASE_URL")
        installation = find_installation()
        with contextlib.ExitStack() as undo:
            undo.callback(self._release)
            try:
                make_directory(self._directory)
                url = self._start_alone(installation)
            except OSError as error:
                raise EmbeddedDatabaseError(
                    f"the local PostgreSQL in {self._directory} could not be set up: {error}. "
                    "Make that directory usable for the present user, or set DATABASE_URL"
                ) from error
            except psycopg.Error as error:
                raise ServerLog(self._directory).error(
                    f"the local PostgreSQL in {self._directory} started but does not serve: {str(error).strip()}",
                    "Remedy that and try again, or set DATABASE_URL",
                ) from error
            undo.pop_all()
        return url

    def _start_alone(self, installation: Path) -> str:
        with self._start_lock.hold(timeout_seconds=_LOCK_TIMEOUT_SECONDS):
            # From here on no watcher stops the server; one that is just stopping it is waited for.
            self._users_lock.acquire(shared=True, timeout_seconds=_LOCK_TIMEOUT_SECONDS)
            place = resolve_server_paths(self._directory, installation)
            self._data = place.data
            _ensure_watcher(self._directory)  # before there is a server: from here on our death leaves none behind
            url = ensure_started(place)
            self._server_lock.open()  # now, for its name may be gone when it is needed
        return url

    def _stop(self) -> None:
        if not watchdog.stop_server(self._server_lock.open(), self._data):
            raise ServerLog(self._directory).error(
                f"the local PostgreSQL in {self._data} did not stop in {watchdog.STOP_TIMEOUT_SECONDS:.0f} s",
                f"`lsof` on {self._server_lock.path} names its processes",
            )

    def _release(self) -> None:
        for lock in (self._users_lock, self._start_lock):
            lock.release()
        for lock in (self._users_lock, self._start_lock, self._server_lock):
            lock.close()


def ensure_running(directory: Path) -> str:
    """Start or adopt the server of a directory once for this process, which uses it until it ends.

    Safe in threads and cheap when the server is already in use.

    Returns:
        The URL, as ``EmbeddedPostgres.start`` does.

    Raises:
        EmbeddedDatabaseError: Says what failed and what to do.
    """
    directory = directory.resolve()
    with _process.lock:
        server = _process.servers.get(directory)
        if server is None:
            server = _process.servers[directory] = EmbeddedPostgres(directory)
            atexit.register(server.close)
        return server.start()


def _ensure_watcher(directory: Path) -> None:
    """Return once a watcher stands by; its program leaves it behind in a session of its own.

    By its path and without the site's packages it starts in some 15 ms, whatever the search path of this process.
    """
    command = [sys.executable, "-I", "-S", watchdog.__file__, os.fspath(directory)]
    done = subprocess.run(  # noqa: S603 - our own argument list, no shell
        command, cwd="/", start_new_session=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise EmbeddedDatabaseError(
            f"the process that stops the local PostgreSQL of {directory} did not start: {done.stderr.strip()}"
        )


_process = _ProcessState()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.reset)
