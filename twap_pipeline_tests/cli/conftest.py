"""Fixtures of the tests of the commands."""

import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from twap_pipeline.cli import main
from twap_pipeline.logs import PACKAGE
from twap_pipeline_tests.cli.command_runner import Command, Outcome
from twap_pipeline_tests.factories import Bucket


@pytest.fixture(autouse=True)
def restored_signals() -> Iterator[None]:
    """Commands handle SIGINT and SIGTERM, and ignore both after the first one."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def recorded_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, bucket: Bucket
) -> Command:
    """A function that runs ``twap-pipeline`` in this process; the source is the test's bucket.

    The Dagster instance is that of a user: SQLite files in TWAP_HOME. Creating them takes seconds.
    """
    monkeypatch.setenv("TWAP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["twap-pipeline", *arguments])
        logging.getLogger(PACKAGE).handlers.clear()  # a fixture can have imported the code location, which sets them
        status: object = 0
        try:
            main()
        except SystemExit as end:
            status = end.code
        output = capsys.readouterr()
        return Outcome(status if isinstance(status, int) else 0, output.out, output.err)

    return run


@pytest.fixture
def command(recorded_command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`recorded_command` with a new in-memory Dagster instance per command, for tests that do not read the instance."""
    monkeypatch.setattr(dg.DagsterInstance, "from_config", lambda _: dg.DagsterInstance.ephemeral())
    return recorded_command
