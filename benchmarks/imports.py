"""The CPU time of importing the code location. The limit is Dagster's own import, with compiled bytecode."""

import statistics

from benchmarks.harness import Bench
from benchmarks.subprocess_timer import run_python

_DAGSTER = "import dagster, dagster_aws.s3"
_CODE_LOCATION = "import twap_pipeline.definitions"


def run(bench: Bench) -> None:
    """Print CPU seconds and their ratio. Other processes change wall-clock times more than CPU times."""
    seconds: dict[str, list[float]] = {_DAGSTER: [], _CODE_LOCATION: []}
    for _ in range(1 + max(bench.rounds, 5)):
        for statement, measured in seconds.items():
            measured.append(_import_cpu_seconds(statement))
    print(f"{'imports':<58} {'CPU s':>8} {'x limit':>8}")
    for statement, measured in seconds.items():
        warm, warm_limit = measured[1:], seconds[_DAGSTER][1:]  # the first import compiles the bytecode
        ratio = statistics.median(value / limit for value, limit in zip(warm, warm_limit, strict=True))
        print(f"{statement:<58} {statistics.median(warm):>8.2f} {ratio:>8.2f}")
    print(flush=True)


def _import_cpu_seconds(statement: str) -> float:
    code = f"import time\n{statement}\nprint(time.process_time())"
    return float(run_python(["-c", code]))
