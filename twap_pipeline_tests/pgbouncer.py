"""PgBouncer in front of the session's PostgreSQL, in session or transaction mode."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

_PROGRAM = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
_START_SECONDS = 10

MISSING = "PgBouncer is not installed" if _PROGRAM is None else ""
"""Why its tests are skipped; empty if it is installed."""


@contextmanager
def pgbouncer(database: URL, mode: str) -> Iterator[URL]:
    """Run PgBouncer with its default settings and two servers per pool, which it uses in turn; yield its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n* = host={database.host} port={database.port} user={database.username}"
            f" password={database.password}\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\n"
            f"unix_socket_dir=\nauth_type=any\npool_mode={mode}\ndefault_pool_size=8\nserver_round_robin=1\n",
            "utf-8",
        )
        process = subprocess.Popen(
            [str(_PROGRAM), "--quiet", str(configuration)],
            user="nobody" if os.geteuid() == 0 else None,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _await_listener(port)
            yield database.set(host="127.0.0.1", port=port, password=None)
        finally:
            process.kill()
            process.wait()


def _await_listener(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError("PgBouncer did not start")
