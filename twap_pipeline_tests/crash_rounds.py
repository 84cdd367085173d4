"""Many crashes in a row, of loaders and of their server, at random points and moments, over a bucket that changes.

The tests do some rounds of it; whoever has the time can have more: each round kills or stops something else. What must
hold in the end is the oracle's.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import get_args

from twap_pipeline.failpoints import FailpointName
from twap_pipeline_tests.factories import event
from twap_pipeline_tests.invariants import PipelineScenario, ingest_everything
from twap_pipeline_tests.loader_process import loader

OBJECTS_PER_ROUND = 4
_ORDERS = 400
_LOADER_SECONDS = 60.0
_POINTS = [point for point in get_args(FailpointName) if point != "mid-tick"]
_STATUSES = ("waitingForTrigger", "activated", "paused", "finished", "terminated")


def crash(
    scenario: PipelineScenario, chance: random.Random, rounds: int, crash_server: Callable[[], None]
) -> Counter[str]:
    """Load a changing bucket while loaders and their server crash, then once in peace; return what happened how often.

    Args:
        scenario: Where it happens.
        chance: Decides everything but the exact moments.
        rounds: In each, objects appear and change, one loader dies at a point, one at any moment; in every fourth the
            server crashes under both instead.
        crash_server: Stops the server without warning and starts it again.
    """
    happened: Counter[str] = Counter()
    for number in range(rounds):
        _change(scenario, chance, number)
        if number % 4 == 3:
            happened["server stopped under two loaders"] += _crash_server(scenario, chance, crash_server)
        else:
            happened += _kill_two(scenario, chance)
    ingest_everything(scenario.store, scenario.engine)
    return happened


def _change(scenario: PipelineScenario, chance: random.Random, number: int) -> None:
    """Add objects that share events and tell them in several ways, and let one that is loaded already grow."""
    for place in range(OBJECTS_PER_ROUND):
        rows = [
            event(chance.randrange(_ORDERS * 4), status=chance.choice(_STATUSES), executed=str(chance.randrange(9)))
            for _ in range(_ORDERS)
        ]
        scenario.bucket.put(f"{number:04}/{place}.parquet", rows, hours=number + chance.random())
    grown = [event(1_000_000 + order) for order in range((number + 1) * 20)]
    scenario.bucket.put("growing.parquet", grown, hours=number)


def _kill_two(scenario: PipelineScenario, chance: random.Random) -> Counter[str]:
    point: FailpointName = chance.choice(_POINTS)
    with (
        loader(scenario, at=point, passing=chance.randrange(OBJECTS_PER_ROUND)) as at_a_point,
        loader(scenario) as at_any_moment,
    ):
        at_any_moment.join(chance.uniform(0.02, 0.4))
        at_any_moment.kill()
        at_any_moment.join()
        at_a_point.join(_LOADER_SECONDS)
        died = [process.exitcode == -signal.SIGKILL for process in (at_a_point, at_any_moment)]
        assert all(process.exitcode in (0, -signal.SIGKILL) for process in (at_a_point, at_any_moment))
    return +Counter({f"killed {point}": int(died[0]), "killed at any moment": int(died[1])})


def _crash_server(scenario: PipelineScenario, chance: random.Random, crash_server: Callable[[], None]) -> int:
    """Stop the server under two loaders; both must get through it unaided, or die before their first transaction."""
    with loader(scenario) as one, loader(scenario) as other:
        time.sleep(chance.uniform(0.05, 0.4))
        crash_server()
        scenario.engine.dispose()
        for process in (one, other):
            process.join(_LOADER_SECONDS)
    return 1
