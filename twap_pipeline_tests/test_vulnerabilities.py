"""The audit of the locked versions: fails for one vulnerable package, and when nobody can be asked.

The public database is out of reach of tests. A server on this machine speaks its protocol, to the real auditor and
over the real lock.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from start import COMMANDS
from twap_pipeline.paths import ROOT


class Advisories(ThreadingHTTPServer):
    """A vulnerability database with advisories for whole packages."""

    vulnerable: frozenset[str] = frozenset()
    asked: set[str]

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.server_port}/v1/query"


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Advisories)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        server.asked.add(asked)
        affected = [{"package": {"name": asked, "ecosystem": "PyPI"}}]
        known = {"vulns": [{"id": "PYSEC-2026-1", "summary": "made up", "affected": affected}]}
        body = json.dumps(known if asked in server.vulnerable else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def advisories() -> Iterator[Advisories]:
    """A database without any advisory."""
    with Advisories(("127.0.0.1", 0), _Answers) as server:
        server.asked = set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def audit(url: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of the launcher against this database."""
    ((program, *arguments),) = COMMANDS["vulnerabilities"]
    command = [
        str(Path(sys.executable).with_name(program)),
        *arguments,
        "--osv-url",
        url,
        "--cache-dir",
        str(cache),
        "--timeout",
        "5",
    ]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.fault("X5")
def test_every_locked_version_is_asked_for_and_none_is_vulnerable(advisories: Advisories, tmp_path: Path) -> None:
    done = audit(advisories.url, tmp_path)

    assert done.returncode == 0, done.stderr
    assert {"alembic", "boto3", "dagster", "psycopg", "sqlalchemy", "urllib3"} <= advisories.asked


@pytest.mark.fault("X5")
def test_one_vulnerable_package_fails_the_audit_and_is_named(advisories: Advisories, tmp_path: Path) -> None:
    advisories.vulnerable = frozenset({"urllib3"})

    done = audit(advisories.url, tmp_path)

    assert done.returncode == 1
    assert "urllib3" in done.stdout
    assert "PYSEC-2026-1" in done.stdout


@pytest.mark.fault("X5")
def test_a_database_that_cannot_be_asked_is_no_clean_bill(tmp_path: Path) -> None:
    assert audit("http://127.0.0.1:9/v1/query", tmp_path).returncode != 0
