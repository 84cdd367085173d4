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


def audit(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def command(url: str, cache: Path, *packages: str) -> list[str]:
    """Return the launcher's audit command for this database, for the whole lock or for these packages of it."""
    ((program, *arguments),) = start.COMMANDS["vulnerabilities"]
    if packages:
        locked = re.split(r"^(?=\S)", (ROOT / start.DEVELOPMENT).read_text("utf-8"), flags=re.MULTILINE)
        part = cache / "part.lock"
        part.write_text("".join(entry for entry in locked if entry.partition("==")[0] in packages), "utf-8")
        arguments = [str(part) if argument == start.DEVELOPMENT else argument for argument in arguments]
    options = ["--osv-url", url, "--cache-dir", str(cache), "--timeout", "5"]
    return [str(Path(sys.executable).with_name(program)), *arguments, *options]


@pytest.mark.fault("X5")
def test_audit_queries_each_locked_package(advisories: AdvisoryServer, tmp_path: Path) -> None:
    process = audit(command(advisories.url, tmp_path))

    assert process.returncode == 0, process.stderr
    assert {"alembic", "boto3", "dagster", "psycopg", "sqlalchemy", "urllib3"} <= advisories.queried


@pytest.mark.fault("X5")
def test_audit_with_vulnerable_package_fails_and_names_it(advisories: AdvisoryServer, tmp_path: Path) -> None:
    advisories.vulnerable = frozenset({"urllib3"})

    process = audit(command(advisories.url, tmp_path, "urllib3", "wrapt"))

    assert process.returncode == 1
    assert "urllib3" in process.stdout
    assert "PYSEC-2026-1" in process.stdout


@pytest.mark.fault("X5")
def test_audit_with_unreachable_database_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"were not checked: .*check the network") as caught:
        start.audit(command("http://127.0.0.1:9/v1/query", tmp_path, "urllib3"), dict(os.environ))

    assert "127.0.0.1" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
