"""Locks between processes, on files, that the kernel releases however a process ends.

Here belongs the one lock type of the embedded server; which lock means what is in ``embedded``.
"""

import contextlib
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from twap_pipeline.embedded.watchdog import try_lock
from twap_pipeline.errors import EmbeddedDatabaseError

with contextlib.suppress(ModuleNotFoundError):  # Windows, where nothing of this is called
    import fcntl

_POLL_SECONDS = 0.02


class FileLock:
    """An ``flock`` through one open file description of its own.

    Programs started from here do not inherit it, and a forked child closes its copy at once: only we hold it.

    Args:
        path: The lock's file; created, readable by its owner only, when it is first needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._held = False

    @property
    def held(self) -> bool:
        """Whether this process holds the lock through this object."""
        return self._held

    def open(self) -> int:
        """Open the file unless it is open.

        Returns:
            Its descriptor, which a program may be handed to share the lock.
        """
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            _open_locks.add(self)
        return self._descriptor

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock, or convert it, if nobody is in the way; a lock already held is lost when somebody is."""
        self._held = try_lock(self.open(), shared=shared)
        return self._held

    def acquire(self, *, timeout_seconds: float, shared: bool = False) -> None:
        """Take the lock, waiting for others.

        Raises:
            EmbeddedDatabaseError: Others held it for the whole time.
        """
        deadline = time.monotonic() + timeout_seconds
        while not self.try_acquire(shared=shared):
            if time.monotonic() > deadline:
                raise EmbeddedDatabaseError(
                    f"another process has held {self.path} for {timeout_seconds:.0f} s, to start or stop the local "
                    "PostgreSQL: end that process (`fuser` or `lsof` on the file names it) and try again"
                )
            time.sleep(_POLL_SECONDS)

    @contextlib.contextmanager
    def hold(self, *, timeout_seconds: float) -> Iterator[None]:
        """Hold the lock exclusively for a block."""
        self.acquire(timeout_seconds=timeout_seconds)
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Give the lock back and keep the file open, so that it can be taken again even if its name is deleted."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._held = False

    def close(self) -> None:
        """Close the file without unlocking: a program that was handed the descriptor goes on holding the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self._held = False


_open_locks: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


def _close_in_child() -> None:
    for lock in list(_open_locks):
        lock.close()
    _open_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
