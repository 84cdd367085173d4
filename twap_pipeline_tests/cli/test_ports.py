"""Ports of the commands that listen: refused before anything starts; `dev` ends when the web server has stopped."""

import signal
import socket
import sys
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from click.testing import CliRunner

from twap_pipeline.cli import cli, dev
from twap_pipeline.cli.context import is_listening, require_free_port
from twap_pipeline.errors import ConfigurationError


@pytest.mark.parametrize("command", ["serve", "dev", "export-metrics"])
@pytest.mark.parametrize("port", ["99999", "0", "-1", "65536", "http"])
def test_port_out_of_range_is_a_usage_error(command: str, port: str) -> None:
    result = CliRunner().invoke(cli, [command, "--port", port])

    assert result.exit_code == 2
    assert "'--port'" in result.output


@pytest.mark.parametrize("command", ["serve", "dev", "export-metrics"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_taken_port_is_refused_before_the_start(command: str, host: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        result = CliRunner(env={"TWAP_HOME": str(tmp_path)}).invoke(cli, [command, "--host", host, "--port", str(port)])

    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception).startswith(f"cannot listen on {host}:{port}: ")
    assert result.output == ""
    assert list(tmp_path.iterdir()) == [], "no server was started"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "x" * 70])
def test_foreign_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot listen on") as caught:
        require_free_port(host, 8000)

    assert len(str(caught.value).splitlines()) == 1


def test_free_port_is_accepted_and_stays_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert is_listening("127.0.0.1", port)

    for _ in range(2):
        require_free_port("127.0.0.1", port)
    assert not is_listening("127.0.0.1", port)


@pytest.fixture
def fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "_POLL_SECONDS", 0.01)


@pytest.fixture
def restored_hangup() -> Iterator[None]:
    """`restored_signals` restores the other signals that `dev` handles."""
    handler = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, handler)


_RUNS = "import time; time.sleep(60)"
_NOT_SERVING = "Dagster's web server does not accept connections"


@pytest.mark.usefixtures("restored_hangup", "fast_polls")
@pytest.mark.parametrize(
    ("code", "serving", "start_timeout", "end"),
    [
        ("", [], 60, (1, "Dagster ended by itself with exit status 0")),
        ("raise SystemExit(3)", [], 60, (3, "Dagster ended by itself with exit status 3")),
        ("import os; os.kill(os.getpid(), 9)", [], 60, (1, "Dagster ended by itself with exit status -9")),
        (_RUNS, [False, True, False, True], 60, (1, _NOT_SERVING)),
        (_RUNS, [], 0, (1, _NOT_SERVING)),
    ],
)
def test_dev_ends_with_its_web_server(
    capsys: pytest.CaptureFixture[str], code: str, serving: list[bool], start_timeout: float, end: tuple[int, str]
) -> None:
    """Before the first connection a web server may need some time; afterwards single misses are tolerated."""
    answers = chain(serving, repeat(False))
    command = [sys.executable, "-c", code]

    result = dev._run_process_group(command, {}, Path("/"), lambda: next(answers), start_timeout_seconds=start_timeout)

    assert result == end[0]
    assert end[1] in capsys.readouterr().err
