"""The embedded server's cluster: its password, and its data directory's first making.

Here belongs what is made once and then kept. Starting a server on it is in ``server``.
"""

import os
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


def load_password(place: ServerPaths) -> str:
    """Read the role's password; make one if there is no cluster yet.

    Raises:
        EmbeddedDatabaseError: A cluster without its password.
    """
    path = place.directory / "password"
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if _exists(place.data):
            raise EmbeddedDatabaseError(
                f"{path} is missing, and the cluster in {place.data} opens with no other password: "
                "put the file back, or move that directory away to begin with an empty database"
            ) from None
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    write_atomically(path, password)
    return password


def write_atomically(path: Path, text: str) -> None:
    """Write a small file, for its owner only, that is complete or absent whenever this process is killed."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    Path(name).replace(path)


def ensure_cluster(place: ServerPaths, password: str, server_lock: int) -> None:
    """Make the data directory unless it is there; it appears complete or not at all.

    Args:
        place: Where.
        password: Of the role, which is the cluster's superuser.
        server_lock: The server's lock, held. ``initdb`` inherits it: if we are killed, the next start waits for it.

    Raises:
        EmbeddedDatabaseError: ``initdb`` failed.
    """
    store = place.data.parent
    for leftover in store.glob(f"{UNFINISHED_PREFIX}*"):
        shutil.rmtree(leftover)
    if _exists(place.data):
        return
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=store))
    try:
        _run_initdb(place, unfinished, password, server_lock)
        (unfinished / "data").rename(place.data)
    finally:
        shutil.rmtree(unfinished)


def _exists(data: Path) -> bool:
    return (data / "PG_VERSION").is_file()


def _run_initdb(place: ServerPaths, unfinished: Path, password: str, server_lock: int) -> None:
    password_file = unfinished / "password"
    write_atomically(password_file, password)
    if place.account:
        for path in (password_file, unfinished):  # in this order: what is in the account's directory is the account's
            os.chown(path, place.account.uid, place.account.gid)
    # PostgreSQL's built-in locale: the same order and case on every system, whatever its C library knows.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    login = ["--auth=scram-sha-256", f"--username={ROLE}", f"--pwfile={password_file}"]
    command = [os.fspath(place.programs / "bin" / "initdb"), "--no-instructions", *locale, *login]
    done = run_program(command, place.account, data=unfinished / "data", keep_open=(server_lock,))
    if done.returncode != 0:
        raise EmbeddedDatabaseError(
            f"initdb could not make a cluster for {place.data}. Its output:\n{done.stdout.strip()}\n"
            "Remedy what it names and try again, or set DATABASE_URL"
        )
