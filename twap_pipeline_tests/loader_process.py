"""Loaders in processes of their own, which are killed or frozen at a point, or whenever a test likes.

They come from a server process that has imported everything once, so that one more loader starts in milliseconds.
"""

import itertools
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from twap_pipeline.failpoints import FailpointName, activate_failpoint
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline_tests.invariants import PipelineScenario, ingest_everything
from twap_pipeline_tests.mutants import BrokenBuild, present_build

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Orders:
    """What a loader is started with.

    Args:
        url: Its database, in clear.
        directory: Its source.
        point: Where it sends itself a signal, once; None for nowhere.
        signal: The signal.
        passing: How often it comes by that point unharmed before.
        build: The mistake in its code, if any.
    """

    url: str
    directory: Path
    point: FailpointName | None
    signal: signal.Signals
    passing: int
    build: BrokenBuild | None


@contextmanager
def loader(
    scenario: PipelineScenario,
    *,
    at: FailpointName | None = None,
    by: signal.Signals = signal.SIGKILL,
    passing: int = 0,
) -> Iterator[BaseProcess]:
    """Have a process take every object of a scenario; it is gone when the block ends."""
    url = scenario.url.render_as_string(hide_password=False)
    orders = Orders(url, scenario.bucket.directory, at, by, passing, present_build())
    process = _processes.Process(target=_load, args=(orders,), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _load(orders: Orders) -> None:
    times = itertools.count()  # counts right in threads, too

    def strike() -> None:
        if next(times) == orders.passing:
            # To this very thread: a signal to the process may reach another first, and this one would go on meanwhile.
            signal.pthread_kill(threading.get_ident(), orders.signal)

    with (
        pytest.MonkeyPatch.context() as patch,
        activate_failpoint(orders.point, strike) if orders.point else nullcontext(),
    ):
        if orders.build is not None:
            orders.build(patch)
        ingest_everything(LocalDirectory(orders.directory), make_engine(parse_database_url(orders.url)))
