"""Bringing the embedded server up: adopt the one that runs, else start it.

Here belongs what happens under the lock of the start. Who uses the server is counted in ``embedded``; stopping is in
``watcher``.
"""

import os
import shlex
import socket
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo

from twap_pipeline.embedded.binaries import run_program
from twap_pipeline.embedded.cluster import DATABASE, ROLE, ensure_cluster, load_password, write_atomically
from twap_pipeline.embedded.locks import FileLock
from twap_pipeline.embedded.paths import ServerPaths
from twap_pipeline.embedded.server_log import ServerLog
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline.errors import EmbeddedDatabaseError

HOST = "127.0.0.1"

_ADOPT_TIMEOUT_SECONDS = 30.0
_START_TIMEOUT_SECONDS = 300  # recovery after a crash can take long; a server that dies is noticed at once
_PORT_ATTEMPTS = 5
_POLL_SECONDS = 0.05
_PORT_LINE = 3  # of postmaster.pid, counted from 0
# Whatever libpq would otherwise take from PG* variables. SCRAM only: no impostor is ever shown the password.
_CONNECTION = {
    "host": HOST,
    "hostaddr": HOST,
    "user": ROLE,
    "dbname": "postgres",
    "connect_timeout": "5",
    "require_auth": "scram-sha-256",
    "sslmode": "disable",
    "gssencmode": "disable",
    "channel_binding": "disable",
    "target_session_attrs": "any",
    "client_encoding": "UTF8",
    "options": "-c statement_timeout=60s",
    "application_name": "twap-embedded",
}


def ensure_started(place: ServerPaths) -> str:
    """Make sure that the cluster's server answers and has our database.

    Returns:
        The URL of the database: no driver is named.

    Raises:
        EmbeddedDatabaseError: With the end of the server's log.
    """
    password = load_password(place)
    server_lock = FileLock(place.directory / "server.lock")
    try:
        port = _attach(place, password, server_lock)
        if port is None:
            # Stale for certain, and PostgreSQL would refuse to start if any process of its user has the number in it.
            (place.data / "postmaster.pid").unlink(missing_ok=True)
            ensure_cluster(place, password, server_lock.open())
            port = _start(place, server_lock.open())
            _check(place, password, port)
    finally:
        server_lock.close()  # the server, if there is one, holds it from here on
    return f"postgresql://{ROLE}:{quote(password, safe='')}@{HOST}:{port}/{DATABASE}"


def _attach(place: ServerPaths, password: str, server_lock: FileLock) -> int | None:
    """Connect to the server that runs; if none does, hold its lock.

    If the lock is free, no process of a server started here lives, whatever ``postmaster.pid`` says; a postmaster found
    nevertheless was started by hand.

    Returns:
        The port; none if no server runs.
    """
    deadline = time.monotonic() + _ADOPT_TIMEOUT_SECONDS
    failure: psycopg.OperationalError | None = None
    while not server_lock.try_acquire() or find_postmaster(place.data) is not None:
        port = _read_port(place.data)
        try:
            if port is not None:
                _check(place, password, port)
                return port
        except psycopg.OperationalError as error:
            failure = error
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    else:
        return None
    raise ServerLog(place.directory).error(
        f"PostgreSQL's processes hold {place.data}, but no connection is possible: "
        f"{str(failure).strip() if failure else 'there is no postmaster.pid'}",
        f"End those processes (`lsof` on {server_lock.path} names them) and try again, or set DATABASE_URL",
    ) from failure


def _read_port(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[_PORT_LINE])
    except (FileNotFoundError, IndexError, ValueError):  # still starting, or ending
        return None


def _check(place: ServerPaths, password: str, port: int) -> None:
    """See that the server on a port is ours, and make our database if it is not there.

    Raises:
        psycopg.OperationalError: It does not answer, or not to us.
        EmbeddedDatabaseError: It has another password, or serves another directory.
    """
    try:
        connection = psycopg.connect(make_conninfo(port=port, password=password, **_CONNECTION), autocommit=True)
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        raise EmbeddedDatabaseError(
            f"the password in {place.directory / 'password'} does not open the cluster in {place.data}: "
            "put the right one back, or move that directory away to begin with an empty database"
        ) from error
    with connection:
        served = connection.execute("SHOW data_directory").fetchone()
        if served is None or not Path(served[0]).samefile(place.data):
            raise EmbeddedDatabaseError(f"the PostgreSQL server on port {port} does not serve {place.data}: stop it")
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _start(place: ServerPaths, server_lock: int) -> int:
    """Start the server.

    Returns:
        Its port.
    """
    log = ServerLog(place.directory)
    log.rotate()
    for _ in range(_PORT_ATTEMPTS):
        port = _choose_port(place.directory / "port")
        options = ["-D", os.fspath(place.data), "-p", str(port)]
        for setting in (f"listen_addresses={HOST}", "unix_socket_directories=", "cluster_name=twap"):
            options += ["-c", setting]
        command = [os.fspath(place.programs / "bin" / "pg_ctl"), "start", "-s", "-w", "-t", str(_START_TIMEOUT_SECONDS)]
        command += ["-o", shlex.join(options)]
        output = log.open()
        try:
            done = run_program(command, place.account, data=place.data, output=output, keep_open=(server_lock,))
        finally:
            os.close(output)
        if done.returncode == 0:
            write_atomically(place.directory / "port", str(port))
            return port
        if _is_free(port):  # so that was not the reason
            break
    raise log.error(
        f"PostgreSQL did not start on {place.data}",
        "Remedy what the log names and try again, or set DATABASE_URL",
    )


def _choose_port(saved: Path) -> int:
    """Take the last port if nobody has it, so that URLs stay valid over restarts, else any free one."""
    try:
        port = int(saved.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        port = 0
    if port and _is_free(port):
        return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does, for TIME_WAIT's sake
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
