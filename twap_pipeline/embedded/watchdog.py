"""Watchdog process that stops a server without clients: ``python -m twap_pipeline.embedded.watchdog DIR``.

There is one watchdog per embedded server. It waits for the exclusive lock on ``DIR/clients.lock``. The kernel grants
the lock when the last client has ended, even if that client was killed. Then the watchdog stops the server. The last
client that closes normally stops the server with the same function.

This module imports only the standard library, so that the process starts within milliseconds. Starting a server
belongs in ``server``.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

STOP_TIMEOUT_SECONDS = 120.0
_POLL_SECONDS = 0.01


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file, or convert its lock, without waiting; return whether it is locked.

    If a conversion fails, the existing lock is lost.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def find_postmaster(data: Path) -> int | None:
    """Return the process id of the running postmaster of a data directory.

    Returns:
        None if ``postmaster.pid`` is missing, incomplete or stale. After a crash, another process may have the id in
        that file. Therefore the process must be a ``postgres`` whose working directory is ``data``.
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
    import subprocess  # macOS only; the import would slow down the start on Linux

    # The command line contains `-D data`; ps prints it as UTF-8 only in a UTF-8 locale.
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    line = subprocess.run(command, capture_output=True, check=False, env={"LC_CTYPE": "UTF-8"}).stdout  # noqa: S603 - no shell
    return b"postgres" in line and os.fsencode(data) in line


def stop_server(server_lock: int, data: Path, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> bool:
    """Stop the server of a data directory, and wait until its last process has ended.

    The caller holds the exclusive lock on ``clients.lock``. Every process of the server, including ``pg_ctl``, has
    inherited the lock on ``server.lock``: the lock is free if and only if no such process runs.

    Args:
        server_lock: Descriptor of ``DIR/server.lock``, opened by this process.
        data: The data directory, without symbolic links.
        timeout_seconds: Time limit of the fast shutdown, which includes a checkpoint.

    Returns:
        Whether the server has ended.
    """
    deadline = time.monotonic() + timeout_seconds
    signalled = None
    while not try_lock(server_lock):
        pid = find_postmaster(data)
        if pid is not None and pid != signalled:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)  # what `pg_ctl stop -m fast` sends
            signalled = pid
        if not data.is_dir():  # a server whose data directory is deleted ends by itself
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    fcntl.flock(server_lock, fcntl.LOCK_UN)
    return True


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | flags, 0o600)


def main(directory: Path) -> int:
    """Fork a watchdog process, unless one exists, and return the exit status.

    When this function returns, a watchdog holds ``watchdog.lock``, so a server that starts later has a watchdog.
    """
    # All files are opened here, because the directory may be deleted before the last client ends.
    data = (directory / "data").resolve()
    watchdog, clients, server = (_open(directory / f"{name}.lock") for name in ("watchdog", "clients", "server"))
    if not try_lock(watchdog):
        return 0
    log = directory / "watchdog.log"
    log.unlink(missing_ok=True)  # it may belong to another user
    output = _open(log, os.O_EXCL)
    if os.fork():
        return 0
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir("/")
    fcntl.flock(clients, fcntl.LOCK_EX)
    stopped = stop_server(server, data)
    if not stopped:
        print(f"the server of {data} did not stop within {STOP_TIMEOUT_SECONDS:.0f} s", flush=True)
    # Release watchdog.lock first: a process that waits for clients.lock must be able to start the next watchdog.
    os.close(watchdog)
    os.close(clients)
    return 0 if stopped else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
