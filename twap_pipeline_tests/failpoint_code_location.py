"""Dagster code location whose failpoints are activated by files, for tests that kill Dagster's processes.

A file in the folder FAILPOINT_FOLDER, named like a failpoint, contains the action for the next time that the code
reaches the failpoint: ``kill-group`` kills all processes of Dagster, ``wait`` lets the process wait until it is killed.
The daemon of a test loads this module instead of `twap_pipeline.definitions`; the sensors are running.
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

WAIT_SECONDS = 300.0


def _run_action(file: Path) -> None:
    """Run the action of the file, if it exists. The file is renamed first, so that only one process runs it."""
    try:
        renamed = file.rename(file.with_suffix(".done"))
    except FileNotFoundError:
        return
    action = renamed.read_text("utf-8")
    if action == "kill-group":
        os.killpg(os.getpgid(0), signal.SIGKILL)
    elif action == "wait":
        time.sleep(WAIT_SECONDS)


_stack = ExitStack()
for _name in get_args(FailpointName):
    _stack.enter_context(activate_failpoint(_name, partial(_run_action, Path(os.environ["FAILPOINT_FOLDER"]) / _name)))

defs = build_definitions(load_settings(), start_sensor=True)
