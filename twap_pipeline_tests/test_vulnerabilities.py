"""The vulnerability audit of the locked versions fails for a vulnerable package and for an unreachable database.

Tests do not use the public database. A local server implements its protocol; pip-audit and the lock are real.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import start
from twap_pipeline.paths import ROOT


class AdvisoryServer(ThreadingHTTPServer):
    """A vulnerability database: one advisory for all versions of each package in `vulnerable`."""

    vulnerable: frozenset[str] = frozenset()
    queried: set[str]

    @property
    def url(self) -> str:
        """URL for queries."""
        return f"http://127.0.0.1:{self.server_port}/v1/query"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, AdvisoryServer)
        package = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        server.queried.add(package)
        affected = [{"package": {"name": package, "ecosystem": "PyPI"}}]
        advisory = {"vulns": [{"id": "PYSEC-2026-1", "summary": "test advisory", "affected": affected}]}
        body = json.dumps(advisory if package in server.vulnerable else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do not log."""


@pytest.fixture
def advisories() -> Iterator[AdvisoryServer]:
    """A database without advisories."""
    with AdvisoryServer(("127.0.0.1", 0), _Handler) as server:
        server.queried = set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.fault("X5")
def test_audit_of_all_packages_names_the_vulnerable_one(advisories: AdvisoryServer, tmp_path: Path) -> None:
    advisories.vulnerable = frozenset({"urllib3"})
    ((program, *arguments),) = start.COMMANDS["vulnerabilities"]
    options = ["--osv-url", advisories.url, "--cache-dir", str(tmp_path), "--timeout", "5"]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}

    process = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments, *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 1, process.stderr
    assert {"alembic", "boto3", "dagster", "psycopg", "sqlalchemy", "urllib3"} <= advisories.queried
    assert re.findall(r"^(\S+) .* (PYSEC-\S+)", process.stdout, re.MULTILINE) == [("urllib3", "PYSEC-2026-1")]


@pytest.mark.fault("X5")
def test_audit_with_unreachable_database_is_one_line() -> None:
    """pip-audit ends with a traceback; a program that prints one replaces it here."""
    program = "import sys; sys.exit('Traceback (most recent call last):\\n  ...\\nConnectionError: 127.0.0.1 refused')"

    with pytest.raises(SystemExit) as caught:
        start.audit([sys.executable, "-c", program], dict(os.environ))

    assert str(caught.value) == (
        "the locked versions were not checked: ConnectionError: 127.0.0.1 refused; check the network and the proxy"
        " settings"
    )


def test_audit_prints_other_errors_and_returns_the_status(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; print('found 1 vulnerability', file=sys.stderr); sys.exit(1)"

    assert start.audit([sys.executable, "-c", program], dict(os.environ)) == 1
    assert capfd.readouterr().err == "found 1 vulnerability\n"
