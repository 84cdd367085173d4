"""Stops a PostgreSQL server that nobody uses: ``python -m twap_pipeline.embedded.watchdog DIR``.

One such process stands beside every embedded server. It waits for the exclusive lock on ``DIR/users.lock``, which the
kernel grants once the last user has ended, however it ended, and then stops the server. A user that leaves last in good
order stops it through the same code.

Here belongs what must work without the rest of the package: only the standard library, so that the process starts in
milliseconds from its bare path. How a server is started is in ``server``.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

with contextlib.suppress(ModuleNotFoundError):  # Windows, where nothing of this is called
    import fcntl

STOP_TIMEOUT_SECONDS = 120.0
_POLL_SECONDS = 0.01


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file if nobody is in the way; a lock already held is lost when somebody is."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def find_postmaster(data: Path) -> int | None:
    """Find the live postmaster of a data directory.

    Returns:
        Its process id; none if ``postmaster.pid`` is absent, incomplete or stale. The number in it proves nothing, for
        after a crash it may be anybody's: the process must be a ``postgres`` at work in this very directory.
    """
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="utf-8").partition("\n")[0])
    except (OSError, ValueError):
        return None
    return pid if pid > 1 and _is_postmaster(pid, data) else None


def _is_postmaster(pid: int, data: Path) -> bool:
    process = Path(f"/proc/{pid}")
    if process.parent.joinpath("self").exists():
        try:
            program = process.joinpath("cmdline").read_bytes().partition(b"\0")[0]
            return program.rpartition(b"/")[2] == b"postgres" and process.joinpath("cwd").samefile(data)
        except OSError:
            return False
    import subprocess  # for macOS only, not worth the watcher's time elsewhere

    # The command line carries `-D data`, in UTF-8 only if the locale says so.
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    line = subprocess.run(command, capture_output=True, check=False, env={"LC_CTYPE": "UTF-8"}).stdout  # noqa: S603
    return b"postgres" in line and os.fsencode(data) in line


def stop_server(server_lock: int, data: Path, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> bool:
    """Stop the server of a data directory and wait until its last process is gone.

    The caller holds the exclusive lock of the users. Every process of the server, from ``pg_ctl`` on, has inherited a
    lock on ``server.lock``: while it is held something runs, and once it is free nothing does.

    Args:
        server_lock: Descriptor of ``DIR/server.lock``, opened by this process.
        data: The data directory, without symbolic links.
        timeout_seconds: How long a fast shutdown, which ends with a checkpoint, may take.

    Returns:
        Whether the server is gone.
    """
    deadline = time.monotonic() + timeout_seconds
    asked = None
    while not try_lock(server_lock):
        pid = find_postmaster(data)
        if pid is not None and pid != asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)  # what `pg_ctl stop -m fast` sends
            asked = pid
        if not data.is_dir():  # deleted below a running server, which then ends by itself
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    fcntl.flock(server_lock, fcntl.LOCK_UN)
    return True


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | flags, 0o600)


def main(directory: Path) -> int:
    """Leave a detached watcher behind and return; one that already stands is enough.

    When this returns, a watcher holds ``watcher.lock``: a server started afterwards cannot be orphaned.
    """
    # All paths are looked up now: the directory may be deleted before the last user ends.
    data = (directory / "data").resolve()
    watcher, users, server = (_open(directory / f"{name}.lock") for name in ("watcher", "users", "server"))
    if not try_lock(watcher):
        return 0
    log = directory / "watcher.log"
    log.unlink(missing_ok=True)  # it may belong to another user
    output = _open(log, os.O_EXCL)
    if os.fork():
        return 0
    for standard in (1, 2):
        os.dup2(output, standard)
    os.chdir("/")
    fcntl.flock(users, fcntl.LOCK_EX)
    stopped = stop_server(server, data)
    if not stopped:
        print(f"the server of {data} did not stop within {STOP_TIMEOUT_SECONDS:.0f} s", flush=True)
    # This lock first: whoever waits for the users' lock must be able to put up the next watcher.
    os.close(watcher)
    os.close(users)
    return 0 if stopped else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
