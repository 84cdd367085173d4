"""The cluster of the embedded server: its password and its data directory, which are created once.

Starting a server on the cluster belongs in ``server``.
"""

import os
import pwd
import secrets
import shutil
import tempfile
from pathlib import Path

from twap_pipeline.embedded.binaries import run_program
from twap_pipeline.embedded.paths import UNFINISHED_PREFIX, ServerPaths
from twap_pipeline.errors import EmbeddedDatabaseError

ROLE = "twap"
DATABASE = "twap"

_PASSWORD_BYTES = 24


def load_password(paths: ServerPaths) -> str:
    """Return the role's password; create one if there is no cluster yet.

    Raises:
        EmbeddedDatabaseError: The cluster exists, but its password file does not.
    """
    path = paths.directory / "password"
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if _exists(paths.data):
            raise EmbeddedDatabaseError(
                f"{path} is missing, and the cluster in {paths.data} accepts no other password: "
                "restore the file, or move that directory away to start with an empty database"
            ) from None
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    write_atomically(path, password)
    return password


def write_atomically(path: Path, text: str) -> None:
    """Write a file of mode 0600. If this process is killed, the file is complete or absent."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    Path(name).replace(path)


def ensure_cluster(paths: ServerPaths, password: str, server_lock: int) -> None:
    """Create the data directory if it does not exist; it appears complete or not at all.

    Args:
        paths: Paths of the server.
        password: Password of the role, which is the cluster's superuser.
        server_lock: Descriptor of the locked ``server.lock``. ``initdb`` inherits it: if this process is killed, the
            next start waits for ``initdb``.

    Raises:
        EmbeddedDatabaseError: ``initdb`` failed, or this process's user has no name.
    """
    parent = paths.data.parent
    for leftover in parent.glob(f"{UNFINISHED_PREFIX}*"):
        shutil.rmtree(leftover)
    if _exists(paths.data):
        return
    if paths.os_user is None:
        _require_user_name()
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=parent))
    try:
        _run_initdb(paths, unfinished, password, server_lock)
        (unfinished / "data").rename(paths.data)
    finally:
        shutil.rmtree(unfinished)


def _require_user_name() -> None:
    """Return if ``initdb`` finds a name for this process's user; it requires one although the role has its own."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise EmbeddedDatabaseError(
            f"the local PostgreSQL needs a user with a name, and user {os.geteuid()} has none: add a line for it to "
            "/etc/passwd, run as a user that is listed there, or set DATABASE_URL"
        ) from None


def _exists(data: Path) -> bool:
    return (data / "PG_VERSION").is_file()


def _run_initdb(paths: ServerPaths, unfinished: Path, password: str, server_lock: int) -> None:
    password_file = unfinished / "password"
    write_atomically(password_file, password)
    if paths.os_user:
        for path in (password_file, unfinished):  # the file first: after the second chown, os_user can replace it
            os.chown(path, paths.os_user.uid, paths.os_user.gid)
    # PostgreSQL's built-in locale sorts and changes case equally on every system, independent of the C library.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    login = ["--auth=scram-sha-256", f"--username={ROLE}", f"--pwfile={password_file}"]
    command = [os.fspath(paths.programs / "bin" / "initdb"), "--no-instructions", *locale, *login]
    done = run_program(command, paths.os_user, data=unfinished / "data", keep_open=(server_lock,))
    if done.returncode != 0:
        raise EmbeddedDatabaseError(
            f"initdb could not create the cluster {paths.data}. Its output:\n{done.stdout.strip()}\n"
            "Correct the reported problem and try again, or set DATABASE_URL"
        )
