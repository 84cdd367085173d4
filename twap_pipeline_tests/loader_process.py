"""Loaders in their own processes, which send themselves a signal at a failpoint, or are killed by the test.

They are forked from a server process that has imported all modules, so that a loader starts in milliseconds.
"""

import itertools
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.failpoints import FailpointName, activate_failpoint
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline_tests.fork_server import processes
from twap_pipeline_tests.invariants import PipelineScenario, ingest_everything
from twap_pipeline_tests.mutants import Mutant, active_mutant


@dataclass(frozen=True)
class LoaderArgs:
    """Arguments of a loader process.

    Args:
        url: Its database, with the password.
        directory: Its source.
        failpoint: Where it sends itself a signal, once; None for nowhere.
        signal: The signal.
        skip: How many times it passes the failpoint before the signal.
        mutant: The mutant that it runs, if any.
        data_set: Data set of the objects.
    """

    url: str
    directory: Path
    failpoint: FailpointName | None
    signal: signal.Signals
    skip: int
    mutant: Mutant | None
    data_set: DataSet


@contextmanager
def loader(
    scenario: PipelineScenario,
    *,
    at: FailpointName | None = None,
    by: signal.Signals = signal.SIGKILL,
    skip: int = 0,
    data_set: DataSet = TWAP_STATUS,
) -> Iterator[BaseProcess]:
    """Run a process that loads every object of a scenario; it is killed when the block ends.

    Args:
        scenario: Source and database.
        at: The failpoint at which the process sends itself a signal; None for no signal.
        by: The signal.
        skip: How many times the process passes the failpoint before the signal.
        data_set: Data set of the objects.
    """
    url = scenario.url.render_as_string(hide_password=False)
    args = LoaderArgs(url, scenario.bucket.directory, at, by, skip, active_mutant(), data_set)
    process = processes.Process(target=_load, args=(args,), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _load(args: LoaderArgs) -> None:
    passes = itertools.count()  # thread-safe

    def send_signal() -> None:
        if next(passes) == args.skip:
            # To this thread: a signal to the process may reach another thread first, while this one continues.
            signal.pthread_kill(threading.get_ident(), args.signal)

    with (
        pytest.MonkeyPatch.context() as patch,
        activate_failpoint(args.failpoint, send_signal) if args.failpoint else nullcontext(),
    ):
        if args.mutant is not None:
            args.mutant(patch)
        ingest_everything(LocalDirectory(args.directory), make_engine(parse_database_url(args.url)), args.data_set)
