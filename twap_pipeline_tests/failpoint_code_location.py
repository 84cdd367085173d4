"""Dagster's code location with failpoints activate_failpoint by files, for tests that kill what Dagster runs.

A file in the folder of ``ARMED_POINTS``, named like a point, says what happens when the code comes by, once: ``run``
kills the process, ``group`` kills all of Dagster, ``sleep`` keeps a tick past its time. What is under test knows
nothing of this module: a test's ``workspace.yaml`` loads it instead of ``twap_pipeline.definitions``.
"""

import os
import signal
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import get_args

from twap_pipeline.definitions import build_definitions
from twap_pipeline.failpoints import FailpointName, activate_failpoint
from twap_pipeline.settings import load_settings

SLEEP_SECONDS = 15.0


def _strike(order: Path) -> None:
    """Do what the file says, if it is there; renaming it first lets only one process do so."""
    try:
        struck = order.rename(order.with_suffix(".struck"))
    except FileNotFoundError:
        return
    what = struck.read_text("utf-8")
    if what == "run":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "group":
        os.killpg(os.getpgid(0), signal.SIGKILL)
    elif what == "sleep":
        time.sleep(SLEEP_SECONDS)


_for_good = ExitStack()
for _point in get_args(FailpointName):
    _for_good.enter_context(activate_failpoint(_point, partial(_strike, Path(os.environ["ARMED_POINTS"]) / _point)))

defs = build_definitions(load_settings())
