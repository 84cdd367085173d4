"""Where the embedded server's data and programs lie, so that the account that runs it can reach them.

Everything is under the given directory, with one exception: a root process whose other account cannot reach that
directory (below /root, say) keeps data and programs in a fresh directory under ``/var/lib/twap-pipeline/``, linked from
``DIR/data``. No permission of anything that exists is ever changed for it.
"""

import importlib.metadata
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from twap_pipeline.embedded.binaries import DISTRIBUTION, PROGRAM_NAMES, OsUser, run_program
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
    """What a server needs to know of the file system.

    Args:
        directory: Locks, password and log; this process reaches it.
        data: The data directory, without symbolic links; the account reaches it.
        programs: ``bin``, ``lib`` and ``share`` that the account can use.
        account: As whom the server runs; none for the present user.
    """

    directory: Path
    data: Path
    programs: Path
    account: OsUser | None


def resolve_server_paths(directory: Path, installation: Path) -> ServerPaths:
    """Decide where data and programs lie, and make what is missing except the data.

    The caller holds the lock of the start.

    Args:
        directory: The server's directory; made if absent.
        installation: The wheel's own.

    Raises:
        EmbeddedDatabaseError: No account to run as, or one that cannot reach the data that is there.
    """
    account = _choose_account(directory / "data")
    store = _choose_store(directory, account)
    programs = installation
    if account and not _allows(account, _CAN_RUN, installation):
        programs = _copy_programs(installation, store)
    return ServerPaths(directory, (store / "data").resolve(), programs, account)


def make_directory(directory: Path) -> None:
    """Make the server's directory; one that exists stays as it is."""
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(_TRAVERSABLE if os.geteuid() == 0 else stat.S_IRWXU)


def _choose_account(data: Path) -> OsUser | None:
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return OsUser(data.stat().st_uid, data.stat().st_gid)
    import pwd  # not on Windows

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsUser(entry.pw_uid, entry.pw_gid)
    raise EmbeddedDatabaseError(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`: "
        "run as another user, or set DATABASE_URL"
    )


def _choose_store(directory: Path, account: OsUser | None) -> Path:
    data = directory / "data"
    if data.is_symlink():
        target = data.resolve()
        ours = EXTERNAL_ROOT in target.parents
        if ours and target.parent.is_dir():
            return target.parent
        if ours:
            data.unlink()
        elif not target.is_dir():  # somebody's own link, to a larger disk perhaps
            raise EmbeddedDatabaseError(
                f"{data} is a link to {target}, which is missing: restore it or remove the link"
            )
    if account is None or _allows(account, 'test -x "$1"', directory):
        return directory
    if os.path.lexists(data):
        raise EmbeddedDatabaseError(
            f"PostgreSQL would run as user {account.uid}, since root may not, but that user cannot reach {data}: "
            "run as the owner of the directories above it, or set DATABASE_URL"
        )
    return _make_external_store(directory)


def _allows(account: OsUser, test: str, path: Path) -> bool:
    return run_program(["/bin/sh", "-c", test, "sh", os.fspath(path)], account).returncode == 0


def _make_external_store(directory: Path) -> Path:
    try:
        EXTERNAL_ROOT.mkdir(parents=True)
    except FileExistsError:
        status = EXTERNAL_ROOT.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EmbeddedDatabaseError(f"{EXTERNAL_ROOT} must be a directory that only root can write") from None
    else:
        EXTERNAL_ROOT.chmod(_TRAVERSABLE)
    store = Path(tempfile.mkdtemp(prefix="postgres-", dir=EXTERNAL_ROOT))
    store.chmod(_TRAVERSABLE)
    (store / "belongs-to.txt").write_text(f"{directory}\n", encoding="utf-8")
    (directory / "data").symlink_to(store / "data")
    return store


def _copy_programs(installation: Path, store: Path) -> Path:
    """Copy what the server needs; once per release of the wheel."""
    copy = store / f"{DISTRIBUTION}-{importlib.metadata.version(DISTRIBUTION)}"
    # The programs find their libraries by a path relative to themselves, so the distances stay as in the wheel.
    site = installation.parent.parent
    if not copy.is_dir():
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=store))
        for source in _list_needed(installation):
            target = unfinished / source.relative_to(site)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("pgxs"))
            else:
                shutil.copyfile(source, target)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(_READABLE)
        unfinished.rename(copy)
    return copy / installation.relative_to(site)


def _list_needed(installation: Path) -> list[Path]:
    package = installation.parent
    bundled = (package.with_name(f"{package.name}.libs"), package / ".dylibs")  # Linux, macOS
    programs = (installation / "bin" / name for name in PROGRAM_NAMES)
    return [
        *programs,
        installation / "lib" / "postgresql",
        installation / "share",
        *(path for path in bundled if path.is_dir()),
    ]
