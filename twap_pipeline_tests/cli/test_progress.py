"""Progress of commands: steps with their seconds on standard error, and a bar in a terminal."""

import atexit
import gc
import io
import logging
import re
import sys
from collections.abc import Callable

import pytest

from twap_pipeline.cli import main, progress
from twap_pipeline.cli.progress import Step, ingest_steps, step

LOAD_LOG = logging.getLogger("twap_pipeline.ingest.load")


def log_object(key: str) -> None:
    LOAD_LOG.info("object loaded", extra={"object_key": key})


def without_seconds(text: str) -> list[str]:
    return re.sub(r"\d+(\.\d)? s$", "N s", text, flags=re.MULTILINE).splitlines()


def test_step_prints_start_and_seconds_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with step("preparing"):
        assert capsys.readouterr().err == "preparing\n"

    output = capsys.readouterr()
    assert (without_seconds(output.err), output.out) == (["preparing: N s"], "")


def test_ingest_steps_refresh_begins_after_last_object(capsys: pytest.CaptureFixture[str]) -> None:
    with ingest_steps("run 1 of 1", 2):
        log_object("a")
        assert "refreshing" not in capsys.readouterr().err
        log_object("b")
        lines = without_seconds(capsys.readouterr().err)
    log_object("c")

    assert lines == ["run 1 of 1: loading 2 objects: N s", "run 1 of 1: refreshing the orders"]
    assert without_seconds(capsys.readouterr().err) == ["run 1 of 1: refreshing the orders: N s"]


def test_ingest_steps_without_terminal_print_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_SECONDS", 0.0)

    with ingest_steps("run 1 of 1", 2):
        log_object("a")

    assert without_seconds(capsys.readouterr().err)[1] == "run 1 of 1: loading 2 objects: 1 of 2, N s"


class Terminal(io.StringIO):
    """Text that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_bar_in_terminal_advances_by_objects() -> None:
    current = Step("loading", Terminal(), 5)
    bar = current._bar
    current.count_object()
    current.finish()

    assert bar is not None
    assert bar.tasks[0].percentage == 20


def test_steps_of_run_ignore_redirected_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster redirects standard error while a step of a run is executed."""
    with ingest_steps("run 1 of 1", 1):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Terminal())
            log_object("a")
        lines = without_seconds(capsys.readouterr().err)

    assert lines[-1] == "run 1 of 1: refreshing the orders"


def test_exit_skips_the_last_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[Callable[[], object]] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.setattr(sys, "argv", ["twap-pipeline", "--version"])

    with pytest.raises(SystemExit):
        main()

    assert gc.freeze in registered
