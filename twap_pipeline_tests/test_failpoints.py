"""Failpoints: without effect unless a test activates one, and called each time the code passes."""

from typing import get_args

import pytest

from twap_pipeline.failpoints import FailpointName, activate_failpoint, failpoint
from twap_pipeline.paths import ROOT

pytestmark = pytest.mark.unit


def test_an_unarmed_point_does_nothing() -> None:
    called: list[str] = []
    with activate_failpoint("downloaded", lambda: called.append("downloaded")):
        failpoint("mid-copy")

    failpoint("downloaded")

    assert called == []


def test_an_armed_point_acts_each_time_until_the_block_ends() -> None:
    called: list[str] = []
    with activate_failpoint("mid-copy", lambda: called.append("here")):
        failpoint("mid-copy")
        failpoint("mid-copy")
    failpoint("mid-copy")

    assert called == ["here", "here"]


def test_an_action_may_raise_and_the_point_is_disarmed_all_the_same() -> None:
    def fail() -> None:
        raise OSError("activate_failpoint")

    with pytest.raises(OSError, match="activate_failpoint"), activate_failpoint("before-commit", fail):
        failpoint("before-commit")

    failpoint("before-commit")


def test_a_point_that_does_not_exist_cannot_be_armed() -> None:
    with (
        pytest.raises(ValueError, match="no failpoint 'nowhere', only downloaded, mid-copy"),
        activate_failpoint("nowhere", print),  # type: ignore[arg-type]  # on purpose
    ):
        pass


@pytest.mark.parametrize("point", get_args(FailpointName))
def test_every_point_stands_in_the_code_once(point: str) -> None:
    code = [path.read_text("utf-8") for path in (ROOT / "twap_pipeline").rglob("*.py") if path.name != "failpoints.py"]

    assert sum(text.count(f'failpoint("{point}")') for text in code) == 1
