"""Rounds of crashes of loaders and of their server, at random times, over a bucket that changes.

The tests run a few rounds, and the soak test many. The invariants must hold after the last round.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import get_args

from twap_pipeline.failpoints import FailpointName
from twap_pipeline.storage.ingest_log import reset_attempts
from twap_pipeline_tests.factories import event
from twap_pipeline_tests.invariants import PipelineScenario, ingest_everything
from twap_pipeline_tests.loader_process import loader

OBJECTS_PER_ROUND = 4
_ORDERS = 400
_LOADER_SECONDS = 60.0
_FAILPOINTS = [name for name in get_args(FailpointName) if name != "mid-tick"]
_STATUSES = ("waitingForTrigger", "activated", "paused", "finished", "terminated")


def crash(
    scenario: PipelineScenario, chance: random.Random, rounds: int, crash_server: Callable[[], None]
) -> Counter[str]:
    """Load a changing bucket while loaders and their server crash, then without crashes; return event → count.

    In each round objects appear and change. In every fourth round the server crashes under two loaders; in the others
    one loader dies at a failpoint and one at a random time.

    Args:
        scenario: Source and database.
        chance: Determines everything but the exact timing.
        rounds: Number of rounds.
        crash_server: Stops the server immediately and starts it again.
    """
    events: Counter[str] = Counter()
    for number in range(rounds):
        _change(scenario, chance, number)
        if number % 4 == 3:
            _crash_server(scenario, chance, crash_server)
            events["server stopped under two loaders"] += 1
        else:
            events += _kill_two(scenario, chance)
    ingest_everything(scenario.store, scenario.engine)
    with scenario.engine.begin() as connection:
        reset_attempts(connection)  # a sound object is parked if three loaders were killed while they read it alone
    ingest_everything(scenario.store, scenario.engine)
    return events


def _change(scenario: PipelineScenario, chance: random.Random, number: int) -> None:
    """Add objects with several versions of shared events, and add rows to an object that is loaded already."""
    for index in range(OBJECTS_PER_ROUND):
        rows = [
            event(chance.randrange(_ORDERS * 4), status=chance.choice(_STATUSES), executed=str(chance.randrange(9)))
            for _ in range(_ORDERS)
        ]
        scenario.bucket.put(f"{number:04}/{index}.parquet", rows, hours=number + chance.random())
    grown = [event(1_000_000 + order) for order in range((number + 1) * 20)]
    scenario.bucket.put("growing.parquet", grown, hours=number)


def _kill_two(scenario: PipelineScenario, chance: random.Random) -> Counter[str]:
    failpoint: FailpointName = chance.choice(_FAILPOINTS)
    with (
        loader(scenario, at=failpoint, skip=chance.randrange(OBJECTS_PER_ROUND)) as at_failpoint,
        loader(scenario) as at_any_time,
    ):
        at_any_time.join(chance.uniform(0.02, 0.4))
        at_any_time.kill()
        at_any_time.join()
        at_failpoint.join(_LOADER_SECONDS)
        died = [process.exitcode == -signal.SIGKILL for process in (at_failpoint, at_any_time)]
        assert all(process.exitcode in (0, -signal.SIGKILL) for process in (at_failpoint, at_any_time))
    return +Counter({f"killed {failpoint}": int(died[0]), "killed at any time": int(died[1])})


def _crash_server(scenario: PipelineScenario, chance: random.Random, crash_server: Callable[[], None]) -> None:
    """Stop the server under two loaders, and wait until each has finished, or failed before its first transaction."""
    with loader(scenario) as first, loader(scenario) as second:
        time.sleep(chance.uniform(0.05, 0.4))
        crash_server()
        scenario.engine.dispose()
        for process in (first, second):
            process.join(_LOADER_SECONDS)
