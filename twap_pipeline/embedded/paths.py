"""Paths of the embedded server's data and programs, to which the user that runs the server has access.

All files are below the given directory, with one exception: if this process is root and the other user has no access
to that directory (such as one below /root), data and programs are in a new directory below ``/var/lib/twap-pipeline/``
and ``DIR/data`` is a link to it. Permissions of existing files are not changed.
"""

import importlib.metadata
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from twap_pipeline.embedded.binaries import DISTRIBUTION, OsUser, run_program
from twap_pipeline.errors import EmbeddedDatabaseError

EXTERNAL_ROOT = Path("/var/lib/twap-pipeline")
UNFINISHED_PREFIX = "unfinished-"

_TRAVERSABLE = 0o711
_READABLE = 0o755
_CAN_RUN = (
    'test -r "$1/share/postgresql/postgres.bki" && "$1/bin/postgres" -V && "$1/bin/pg_ctl" -V && "$1/bin/initdb" -V'
)


@dataclass(frozen=True)
class ServerPaths:
    """Paths of one server, and the user that runs it.

    Args:
        directory: Directory of locks, password and log, for this process.
        data: The data directory, without symbolic links, accessible to ``os_user``.
        programs: Directory of ``bin``, ``lib`` and ``share``, accessible to ``os_user``.
        os_user: User that runs the server; None for the current user.
    """

    directory: Path
    data: Path
    programs: Path
    os_user: OsUser | None


def resolve_server_paths(directory: Path, installation: Path) -> ServerPaths:
    """Return the paths of a server; create all of them except the data directory.

    The caller has locked ``start.lock``.

    Args:
        directory: The server's directory.
        installation: The installation in the wheel.

    Raises:
        EmbeddedDatabaseError: There is no user to run the server, or that user has no access to the existing data.
    """
    os_user = _choose_os_user(directory / "data")
    parent = _choose_data_parent(directory, os_user)
    programs = installation
    if os_user and not _test_as(os_user, _CAN_RUN, installation):
        programs = _copy_programs(installation, parent)
    return ServerPaths(directory, (parent / "data").resolve(), programs, os_user)


def make_directory(directory: Path) -> None:
    """Create the server's directory; an existing one is not changed."""
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(_TRAVERSABLE if os.geteuid() == 0 else stat.S_IRWXU)


def _choose_os_user(data: Path) -> OsUser | None:
    """Return the owner of the data, ``postgres`` or ``nobody``; None if this process is not root."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return OsUser(data.stat().st_uid, data.stat().st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsUser(entry.pw_uid, entry.pw_gid)
    raise EmbeddedDatabaseError(
        "PostgreSQL does not run as root, and neither user `postgres` nor user `nobody` exists: "
        "run as another user, or set DATABASE_URL"
    )


def _choose_data_parent(directory: Path, os_user: OsUser | None) -> Path:
    """Return the parent of the data directory: the server's directory, or a directory below `EXTERNAL_ROOT`."""
    data = directory / "data"
    if data.is_symlink():
        target = data.resolve()
        is_external = EXTERNAL_ROOT in target.parents
        if is_external and target.parent.is_dir():
            return target.parent
        if is_external:
            data.unlink()
        elif not target.is_dir():  # a link that the operator created, for example to a larger disk
            raise EmbeddedDatabaseError(
                f"{data} is a link to {target}, which is missing: restore it or remove the link"
            )
    if os_user is None or _test_as(os_user, 'test -x "$1"', directory):
        return directory
    if os.path.lexists(data):
        raise EmbeddedDatabaseError(
            f"PostgreSQL does not run as root and would run as user {os_user.uid}, which cannot access {data}: "
            "run as the owner of the directories above it, or set DATABASE_URL"
        )
    return _make_external_parent(directory)


def _test_as(os_user: OsUser, test: str, path: Path) -> bool:
    """Return whether a shell command succeeds as that user, with the path as ``$1``."""
    return run_program(["/bin/sh", "-c", test, "sh", os.fspath(path)], os_user).returncode == 0


def _make_external_parent(directory: Path) -> Path:
    try:
        EXTERNAL_ROOT.mkdir(parents=True)
    except FileExistsError:
        status = EXTERNAL_ROOT.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EmbeddedDatabaseError(f"{EXTERNAL_ROOT} must be a directory that only root can write") from None
    else:
        EXTERNAL_ROOT.chmod(_TRAVERSABLE)
    parent = Path(tempfile.mkdtemp(prefix="postgres-", dir=EXTERNAL_ROOT))
    parent.chmod(_TRAVERSABLE)
    (parent / "belongs-to.txt").write_text(f"{directory}\n", encoding="utf-8")
    (directory / "data").symlink_to(parent / "data")
    return parent


def _copy_programs(installation: Path, parent: Path) -> Path:
    """Copy the programs and their files, once per version of the wheel; return the copied installation."""
    copy = parent / f"{DISTRIBUTION}-{importlib.metadata.version(DISTRIBUTION)}"
    # The programs load libraries by relative paths, so the copy has the directory structure of the wheel.
    site = installation.parent.parent
    package = installation.parent
    if not copy.is_dir():
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=parent))
        for source in (installation, package.with_name(f"{package.name}.libs"), package / ".dylibs"):
            if source.is_dir():  # bundled libraries: the second on Linux, the third on macOS
                ignored = shutil.ignore_patterns("include", "pgxs", "*.a")
                shutil.copytree(source, unfinished / source.relative_to(site), ignore=ignored)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(_READABLE)
        unfinished.rename(copy)
    return copy / installation.relative_to(site)
