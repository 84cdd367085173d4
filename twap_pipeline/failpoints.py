"""Named points in the code at which a test lets something happen: the process dies, freezes, or an error is raised.

No setting and no variable arms a point: only a test does, in its own process or in one that it starts. An unarmed
point costs the look at an empty dictionary, and none stands in a loop over rows. Here belong the points' names; what
happens at one is the test's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

FailpointName = Literal["downloaded", "mid-copy", "before-commit", "after-commit", "mid-tick"]
"""Where a point stands:

* ``downloaded``: an object's bytes are here and verified, no transaction is open.
* ``mid-copy``: a part of an object's rows was handed to COPY, which is still open.
* ``before-commit``: rows and ledger entry are written, the transaction is open.
* ``after-commit``: they are committed, and nobody has been told.
* ``mid-tick``: the sensor knows what it will ask for and has not answered yet.
"""

_armed: dict[str, Callable[[], None]] = {}


def failpoint(name: FailpointName) -> None:
    """Let happen what a test has activate_failpoint this point with."""
    if _armed and (action := _armed.get(name)) is not None:
        action()


@contextmanager
def activate_failpoint(name: FailpointName, action: Callable[[], None]) -> Iterator[None]:
    """Arm a point for the length of a block.

    Args:
        name: The point.
        action: Called each time that the code comes by, in whichever thread does.

    Raises:
        ValueError: There is no such point.
    """
    if name not in get_args(FailpointName):
        raise ValueError(f"there is no failpoint {name!r}, only {', '.join(get_args(FailpointName))}")
    _armed[name] = action
    try:
        yield
    finally:
        del _armed[name]
