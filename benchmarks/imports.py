"""What importing the code location takes beside Dagster's own import, bytecode compiled."""

import statistics
import subprocess
import sys

from benchmarks.harness import Bench

_BARE = "import dagster, dagster_aws.s3"
_OURS = "import twap_pipeline.definitions"


def run(bench: Bench) -> None:
    """Print CPU seconds and their ratio; CPU, since other processes do not add to it."""
    taken: dict[str, list[float]] = {_BARE: [], _OURS: []}
    for _ in range(1 + max(bench.rounds, 5)):  # the first one compiles
        for statement, seconds in taken.items():
            seconds.append(_seconds(statement))
    print(f"{'imports':<58} {'CPU s':>8} {'ratio':>8}")
    for statement, seconds in taken.items():
        pairs = zip(seconds[1:], taken[_BARE][1:], strict=True)
        ratio = statistics.median(one / bare for one, bare in pairs)
        print(f"{statement:<58} {statistics.median(seconds[1:]):>8.2f} {ratio:>8.2f}")
    print(flush=True)


def _seconds(statement: str) -> float:
    code = f"import time\n{statement}\nprint(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)
