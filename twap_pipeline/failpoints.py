"""Failpoints: named points in the code at which a test runs an action, such as an error, a signal or a pause.

Only a test activates a failpoint, in its own process or in one that it starts; no setting or variable does. An inactive
failpoint costs one dictionary lookup, and no failpoint is inside a loop over rows. Put the names here; the actions
belong to the tests.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

FailpointName = Literal[
    "downloaded",
    "mid-copy",
    "before-commit",
    "after-commit",
    "mid-tick",
    "rows-copied",
    "archive-written",
    "archive-verified",
    "month-dropped",
    "month-restored",
]
"""The failpoints:

* ``downloaded``: an object's bytes are fetched and verified, and no transaction is open.
* ``mid-copy``: some of an object's rows are sent to COPY, and the COPY is not finished.
* ``before-commit``: rows and log entry are written, and the transaction is open.
* ``after-commit``: the transaction is committed, and the result is not returned yet.
* ``mid-tick``: the sensor has computed its run requests and has not returned them.
* ``rows-copied``: the conversion of the table has copied all rows, and its transaction is open.
* ``archive-written``: the file of a month has its name, and is not compared with the rows yet.
* ``archive-verified``: the file equals the rows, and the partition exists.
* ``month-dropped``: the partition is dropped, and the transaction is open.
* ``month-restored``: the rows of a month are in the table again, and the transaction is open.
"""

_actions: dict[str, Callable[[], None]] = {}


def failpoint(name: FailpointName) -> None:
    """Run the action of this failpoint, if a test has activated it."""
    if action := _actions.get(name):
        action()


@contextmanager
def activate_failpoint(name: FailpointName, action: Callable[[], None]) -> Iterator[None]:
    """Activate a failpoint for the length of the block.

    Args:
        name: The failpoint.
        action: Called each time that a thread reaches the failpoint, in that thread.

    Raises:
        ValueError: The name is not a failpoint.
    """
    if name not in get_args(FailpointName):
        raise ValueError(f"{name!r} is not a failpoint; failpoints are {', '.join(get_args(FailpointName))}")
    _actions[name] = action
    try:
        yield
    finally:
        del _actions[name]
