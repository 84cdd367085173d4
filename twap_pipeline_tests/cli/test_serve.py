"""The command ``serve`` in its own process, with the embedded database."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import httpx2
import pytest
from click.testing import CliRunner
from sqlalchemy import URL

from twap_pipeline.cli import cli
from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline_tests.api.serving import eventually
from twap_pipeline_tests.databases import reachable_directory

COMMAND = [sys.executable, "-c", "from twap_pipeline.cli import main; main()", "serve", "--port"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_serve_without_settings_uses_the_embedded_database() -> None:
    port = free_port()
    with reachable_directory() as directory, httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        environment = {**os.environ, "TWAP_HOME": str(directory)}
        process = subprocess.Popen(
            [*COMMAND, str(port)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:

            def is_ready() -> bool:
                with suppress(httpx2.TransportError):
                    return client.get("/readyz").status_code == 200
                assert process.poll() is None, process.communicate()
                return False

            eventually(is_ready, 60)
            assert "<title>TWAP history</title>" in client.get("/").text
            assert client.get("/api/v2/coverage", headers={"X-Request-ID": "mine"}).json()["days"] == []
            assert "server" not in client.get("/").headers
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)

    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}/" in out
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["path"] for line in lines if line.get("request_id") == "mine"] == ["/api/v2/coverage"]


@pytest.mark.fault("R6")
def test_serve_refuses_another_schema_revision(empty_database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database.render_as_string(hide_password=False))

    result = CliRunner().invoke(cli, ["serve", "--port", str(free_port())])

    assert isinstance(result.exception, SchemaRevisionError)
    assert "run `twap-pipeline migrate`" in str(result.exception)
