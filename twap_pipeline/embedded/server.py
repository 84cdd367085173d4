"""Start of the embedded server: attach to the running server, or start one.

The caller has locked ``start.lock``. Counting clients belongs in ``instance``; stopping a server in ``watchdog``.
"""

import os
import re
import shlex
import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from twap_pipeline.embedded.binaries import run_program
from twap_pipeline.embedded.cluster import DATABASE, ROLE, ensure_cluster, load_password, write_atomically
from twap_pipeline.embedded.locks import FileLock
from twap_pipeline.embedded.paths import ServerPaths
from twap_pipeline.embedded.server_log import log_error, open_log
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline.errors import EmbeddedDatabaseError

HOST = "127.0.0.1"

_ATTACH_TIMEOUT_SECONDS = 30.0
_START_TIMEOUT_SECONDS = 300  # crash recovery can be slow; a server that ends is detected without waiting
_PORT_ATTEMPTS = 5
_POLL_SECONDS = 0.05
_LIBPQ_VARIABLE = re.compile("PG[A-Z]+")
_PORT_LINE = 3  # of postmaster.pid, counted from 0
# SCRAM only: the password is not sent to the server.
_CONNECTION = {
    "host": HOST,
    "user": ROLE,
    "dbname": "postgres",
    "connect_timeout": "5",
    "require_auth": "scram-sha-256",
    "sslmode": "disable",
    "gssencmode": "disable",
    "options": "-c statement_timeout=60s",
    "application_name": "twap-embedded",
}


def ensure_started(paths: ServerPaths) -> str:
    """Start the server if it does not run, create the database if it does not exist, and return the database's URL.

    The URL connects only in a process without libpq's variables, so this function removes them from this process.

    Returns:
        ``postgresql://…``, without a driver name.

    Raises:
        EmbeddedDatabaseError: The server could not be started or reached; contains the last lines of its log.
    """
    remove_libpq_variables()
    password = load_password(paths)
    server_lock = FileLock(paths.directory / "server.lock")
    try:
        port = _attach(paths, password, server_lock)
        if port is None:
            # The file is stale. PostgreSQL would refuse to start if another process of its user had the process id.
            (paths.data / "postmaster.pid").unlink(missing_ok=True)
            ensure_cluster(paths, password, server_lock.open())
            port = _start(paths, server_lock.open())
            _prepare_database(paths, password, port)
    finally:
        server_lock.close()  # the server has inherited the lock
    return f"postgresql://{ROLE}:{quote(password, safe='')}@{HOST}:{port}/{DATABASE}"


def remove_libpq_variables() -> None:
    """Remove libpq's variables, such as PGSSLMODE and PGSERVICE, from the environment of this process.

    They describe another server. The URL of the embedded server cannot override all of them: libpq has no parameter
    that disables PGSERVICE. Child processes inherit the environment without them. Names with an underscore, such as
    PG_PASSWORD, are not libpq's.
    """
    for name in [name for name in os.environ if _LIBPQ_VARIABLE.fullmatch(name)]:
        del os.environ[name]


def _attach(paths: ServerPaths, password: str, server_lock: FileLock) -> int | None:
    """Connect to the running server and return its port; if no server runs, lock ``server.lock`` and return None.

    If the lock is free, no server that this package started is running. A postmaster that runs nevertheless was
    started manually.

    Raises:
        EmbeddedDatabaseError: A server runs, but does not accept connections.
    """
    deadline = time.monotonic() + _ATTACH_TIMEOUT_SECONDS
    failure: psycopg.OperationalError | None = None
    while not server_lock.try_acquire() or find_postmaster(paths.data) is not None:
        port = _read_port(paths.data)
        try:
            if port is not None:
                _prepare_database(paths, password, port)
                return port
        except psycopg.OperationalError as error:
            failure = error
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    else:
        return None
    raise log_error(
        paths.directory,
        f"PostgreSQL processes use {paths.data}, but no connection is possible: "
        f"{str(failure).strip() if failure else 'there is no postmaster.pid'}",
        f"End those processes (`lsof` on {server_lock.path} lists them) and try again, or set DATABASE_URL",
    ) from failure


def _read_port(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[_PORT_LINE])
    except (FileNotFoundError, IndexError, ValueError):  # the server is starting or stopping
        return None


def _prepare_database(paths: ServerPaths, password: str, port: int) -> None:
    """Verify that the server on a port serves this data directory, and create the database if it does not exist.

    Raises:
        psycopg.OperationalError: The server does not accept connections.
        EmbeddedDatabaseError: The server has another password or another data directory.
    """
    try:
        connection = psycopg.connect(make_conninfo(port=port, password=password, **_CONNECTION), autocommit=True)
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        raise EmbeddedDatabaseError(
            f"the cluster in {paths.data} rejects the password in {paths.directory / 'password'}: "
            "restore the file, or move that directory away to start with an empty database"
        ) from error
    with connection:
        row = connection.execute("SHOW data_directory").fetchone()
        if row is None or not Path(row[0]).samefile(paths.data):
            raise EmbeddedDatabaseError(f"the PostgreSQL server on port {port} does not serve {paths.data}: stop it")
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _start(paths: ServerPaths, server_lock: int) -> int:
    """Start the server and return its port.

    Raises:
        EmbeddedDatabaseError: The server did not start.
    """
    with suppress(FileNotFoundError):
        (paths.directory / "server.log").replace(paths.directory / "server.log.1")  # of the previous server
    for _ in range(_PORT_ATTEMPTS):
        port = _choose_port(paths.directory / "port")
        options = ["-D", os.fspath(paths.data), "-p", str(port)]
        for setting in (f"listen_addresses={HOST}", "unix_socket_directories=", "cluster_name=twap"):
            options += ["-c", setting]
        command = [os.fspath(paths.programs / "bin" / "pg_ctl"), "start", "-s", "-w", "-t", str(_START_TIMEOUT_SECONDS)]
        command += ["-o", shlex.join(options)]
        output = open_log(paths.directory)
        try:
            done = run_program(command, paths.os_user, data=paths.data, output=output, keep_open=(server_lock,))
        finally:
            os.close(output)
        if done.returncode == 0:
            write_atomically(paths.directory / "port", str(port))
            return port
        if _is_free(port):  # the port was not the reason
            break
    raise log_error(
        paths.directory,
        f"PostgreSQL did not start on {paths.data}",
        "Correct the problem in the log and try again, or set DATABASE_URL",
    )


def _choose_port(saved: Path) -> int:
    """Return the previous port if it is free, so that URLs stay valid after a restart, or else any free port."""
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
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does: ignore TIME_WAIT
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
