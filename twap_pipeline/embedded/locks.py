"""File locks between processes (``flock``). The kernel releases them when a process ends, for any reason.

The meaning of each lock is described in ``instance``.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from twap_pipeline.embedded.watchdog import try_lock
from twap_pipeline.errors import EmbeddedDatabaseError

LOCK_TIMEOUT_SECONDS = 150.0
"""Longer than a start or a stop in another process takes."""

_POLL_SECONDS = 0.02


class FileLock:
    """An ``flock`` on an open file description of its own.

    Child programs do not inherit the descriptor: only this process holds the lock.

    Args:
        path: The lock file, created with mode 0600 on first use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self.is_locked = False
        """Whether this process holds the lock through this object."""

    def open(self) -> int:
        """Return the descriptor of the open file; a program that inherits it shares the lock."""
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        return self._descriptor

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Lock, or convert the lock, without waiting; see `watchdog.try_lock`."""
        self.is_locked = try_lock(self.open(), shared=shared)
        return self.is_locked

    def acquire(self, *, shared: bool = False) -> None:
        """Lock, and wait while other processes hold the lock.

        Raises:
            EmbeddedDatabaseError: Other processes held the lock for `LOCK_TIMEOUT_SECONDS`.
        """
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while not self.try_acquire(shared=shared):
            if time.monotonic() > deadline:
                raise EmbeddedDatabaseError(
                    f"another process has locked {self.path} for {LOCK_TIMEOUT_SECONDS:.0f} s, to start or stop the "
                    "local PostgreSQL: end that process (`lsof` on the file lists it) and try again"
                )
            time.sleep(_POLL_SECONDS)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the exclusive lock for the duration of the context."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Unlock, but keep the file open, so that it can be locked again even if the path is deleted."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.is_locked = False

    def close(self) -> None:
        """Close the file without unlocking: a program that inherited the descriptor keeps the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self.is_locked = False
