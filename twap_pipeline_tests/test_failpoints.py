"""Failpoints: no effect unless a test activates one; then the action runs each time the code reaches the point."""

from typing import get_args

import pytest

from twap_pipeline.failpoints import FailpointName, activate_failpoint, failpoint
from twap_pipeline.paths import ROOT

pytestmark = pytest.mark.unit


def test_inactive_failpoint_does_nothing() -> None:
    calls: list[str] = []
    with activate_failpoint("downloaded", lambda: calls.append("downloaded")):
        failpoint("mid-copy")

    failpoint("downloaded")

    assert calls == []


def test_active_failpoint_acts_each_time_until_block_ends() -> None:
    calls: list[str] = []
    with activate_failpoint("mid-copy", lambda: calls.append("mid-copy")):
        failpoint("mid-copy")
        failpoint("mid-copy")
    failpoint("mid-copy")

    assert calls == ["mid-copy", "mid-copy"]


def test_failpoint_whose_action_raises_is_deactivated() -> None:
    def fail() -> None:
        raise OSError("injected")

    with pytest.raises(OSError, match="injected"), activate_failpoint("before-commit", fail):
        failpoint("before-commit")

    failpoint("before-commit")


def test_unknown_failpoint_cannot_be_activated() -> None:
    with (
        pytest.raises(ValueError, match=r"nowhere.*downloaded, mid-copy"),
        activate_failpoint("nowhere", print),  # type: ignore[arg-type]  # on purpose
    ):
        pass


@pytest.mark.parametrize("name", get_args(FailpointName))
def test_each_failpoint_is_called_once_in_the_code(name: str) -> None:
    code = [path.read_text("utf-8") for path in (ROOT / "twap_pipeline").rglob("*.py") if path.name != "failpoints.py"]

    assert sum(text.count(f'failpoint("{name}")') for text in code) == 1
