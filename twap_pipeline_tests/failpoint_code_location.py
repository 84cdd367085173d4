"""Dagster code location whose failpoints are activated by files, for tests that kill Dagster's processes.

A file in the folder FAILPOINT_FOLDER, named like a failpoint, contains the action for the next time that the code
reaches the failpoint: ``kill-run`` kills the process, ``kill-group`` kills all processes of ``dagster dev``, ``sleep``
makes a tick exceed its timeout. The ``workspace.yaml`` of a test loads this module instead of
`twap_pipeline.definitions`.
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


def _run_action(file: Path) -> None:
    """Run the action of the file, if it exists. The file is renamed first, so that only one process runs it."""
    try:
        renamed = file.rename(file.with_suffix(".done"))
    except FileNotFoundError:
        return
    action = renamed.read_text("utf-8")
    if action == "kill-run":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "kill-group":
        os.killpg(os.getpgid(0), signal.SIGKILL)
    elif action == "sleep":
        time.sleep(SLEEP_SECONDS)


_stack = ExitStack()
for _name in get_args(FailpointName):
    _stack.enter_context(activate_failpoint(_name, partial(_run_action, Path(os.environ["FAILPOINT_FOLDER"]) / _name)))

defs = build_definitions(load_settings())
