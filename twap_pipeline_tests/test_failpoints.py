"""Points in the code that tests arm: silent unless armed, called each time, each in the code where its name says."""

from typing import get_args

import pytest

from twap_pipeline.failpoints import Point, armed, failpoint
from twap_pipeline.project import ROOT

pytestmark = pytest.mark.pure


def test_an_unarmed_point_does_nothing() -> None:
    called: list[str] = []
    with armed("downloaded", lambda: called.append("downloaded")):
        failpoint("mid-copy")

    failpoint("downloaded")

    assert called == []


def test_an_armed_point_acts_each_time_until_the_block_ends() -> None:
    called: list[str] = []
    with armed("mid-copy", lambda: called.append("here")):
        failpoint("mid-copy")
        failpoint("mid-copy")
    failpoint("mid-copy")

    assert called == ["here", "here"]


def test_an_action_may_raise_and_the_point_is_disarmed_all_the_same() -> None:
    def fail() -> None:
        raise OSError("armed")

    with pytest.raises(OSError, match="armed"), armed("before-commit", fail):
        failpoint("before-commit")

    failpoint("before-commit")


def test_a_point_that_does_not_exist_cannot_be_armed() -> None:
    with pytest.raises(ValueError, match="no failpoint 'nowhere', only downloaded, mid-copy"), armed("nowhere", print):  # type: ignore[arg-type]  # on purpose
        pass


@pytest.mark.parametrize("point", get_args(Point))
def test_every_point_stands_in_the_code_once(point: str) -> None:
    code = [path.read_text("utf-8") for path in (ROOT / "twap_pipeline").rglob("*.py") if path.name != "failpoints.py"]

    assert sum(text.count(f'failpoint("{point}")') for text in code) == 1
