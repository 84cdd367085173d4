"""Use of the embedded server by processes, its clients: the first one starts the server, the last one stops it.

There is one server per directory. Processes coordinate by ``flock``, which the kernel releases when a process ends:

- ``start.lock``, exclusive: a process starts the server, attaches to it, or closes its client.
- ``clients.lock``, shared: one lock per client. Exclusive: there is no client, and the process stops the server.
- ``watchdog.lock``, exclusive: a watchdog process waits for the end of the last client (``watchdog``).
- ``server.lock``, exclusive: inherited by the processes of the server; at least one of them runs.

A process locks them in this order. If this process is root, the server runs as another user (``paths``). The data
directory is never deleted.
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
from twap_pipeline.embedded.server_log import log_error
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline.errors import EmbeddedDatabaseError

_process_lock = threading.RLock()
"""Lock of the threads of this process."""


class EmbeddedPostgres:
    """This process as a client of the server whose data are in a directory.

    Args:
        directory: Directory of the server, created by the first start. Its parents are not changed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._start_lock = FileLock(self._directory / "start.lock")
        self._clients_lock = FileLock(self._directory / "clients.lock")
        self._server_lock = FileLock(self._directory / "server.lock")
        self._data = self._directory / "data"
        self._url = ""

    def start(self) -> str:
        """Start the server if it does not run, and return its URL. The server runs at least until `close`.

        Calling it again is cheap. If the server has died, a new one is started. The first call removes libpq's
        variables (PGSSLMODE, PGSERVICE and so on) from this process's environment: they describe another server.

        Returns:
            ``postgresql://twap:<password>@127.0.0.1:<port>/twap``.

        Raises:
            EmbeddedDatabaseError: The server could not be started; contains what to do.
        """
        with _process_lock:
            if not self._clients_lock.is_locked or find_postmaster(self._data) is None:
                self._release()  # the lock files of an earlier start may have been deleted
                self._url = self._start()
            return self._url

    def close(self) -> None:
        """Close this client. If it was the last one, the server has stopped when this method returns.

        Raises:
            EmbeddedDatabaseError: The server does not stop, or another process does not release a lock.
        """
        with _process_lock:
            if not self._clients_lock.is_locked:
                return
            try:
                # Clients close one at a time. Otherwise two closing clients would each see the other's shared lock,
                # and neither would stop the server.
                self._start_lock.acquire()
                if self._clients_lock.try_acquire():
                    self._stop()
                else:
                    # There are other clients, or the watchdog is stopping the server; then this waits for its end.
                    self._clients_lock.acquire(shared=True)
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
        installation = find_installation()
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self._release)
            try:
                make_directory(self._directory)
                url = self._start_locked(installation)
            except OSError as error:
                raise EmbeddedDatabaseError(
                    f"the local PostgreSQL in {self._directory} could not be set up: {error}. "
                    "Make that directory writable for the current user, or set DATABASE_URL"
                ) from error
            except psycopg.Error as error:
                raise log_error(
                    self._directory,
                    f"the local PostgreSQL in {self._directory} does not accept connections: {str(error).strip()}",
                    "Correct the problem and try again, or set DATABASE_URL",
                ) from error
            cleanup.pop_all()
        return url

    def _start_locked(self, installation: Path) -> str:
        with self._start_lock.locked():
            # With this lock no watchdog stops the server. A watchdog that is stopping it delays the lock.
            self._clients_lock.acquire(shared=True)
            paths = resolve_server_paths(self._directory, installation)
            self._data = paths.data
            _ensure_watchdog(self._directory)  # before the server starts: if this process is killed, it is stopped
            url = ensure_started(paths)
            self._server_lock.open()  # the path may be deleted later
        return url

    def _stop(self) -> None:
        """Stop the server. This client has locked ``clients.lock`` exclusively."""
        if not watchdog.stop_server(self._server_lock.open(), self._data):
            raise log_error(
                self._directory,
                f"the local PostgreSQL in {self._data} did not stop in {watchdog.STOP_TIMEOUT_SECONDS:.0f} s",
                f"`lsof` on {self._server_lock.path} lists its processes",
            )

    def _release(self) -> None:
        for lock in (self._clients_lock, self._start_lock):
            lock.release()
        for lock in (self._clients_lock, self._start_lock, self._server_lock):
            lock.close()


_servers: dict[Path, EmbeddedPostgres] = {}
"""Directory → the client of `ensure_running`."""


def ensure_running(directory: Path) -> str:
    """Return the URL of the server of a directory; start it if it does not run.

    This process is a client until it ends. The function is thread-safe, and cheap if the server runs.

    Raises:
        EmbeddedDatabaseError: See `EmbeddedPostgres.start`.
    """
    directory = directory.resolve()
    with _process_lock:
        server = _servers.get(directory)
        if server is None:
            server = _servers[directory] = EmbeddedPostgres(directory)
            atexit.register(server.close)
        return server.start()


def close_clients() -> None:
    """Close the clients of `ensure_running` now, not at the end of this process; the last client stops its server.

    Raises:
        EmbeddedDatabaseError: See `EmbeddedPostgres.close`.
    """
    with _process_lock:
        for server in _servers.values():
            server.close()


def _ensure_watchdog(directory: Path) -> None:
    """Start a watchdog process in a new session, unless one exists.

    The program is started by its path with ``-I -S``: it needs about 15 ms and ignores this process's search path.
    """
    command = [sys.executable, "-I", "-S", watchdog.__file__, os.fspath(directory)]
    done = subprocess.run(  # noqa: S603 - fixed argument list, no shell
        command, cwd="/", start_new_session=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise EmbeddedDatabaseError(
            f"the watchdog of the local PostgreSQL in {directory} did not start: {done.stderr.strip()}"
        )
