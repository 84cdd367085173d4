"""``python -m benchmarks.fuzz --minutes N --first CASE``: malformed parquet, read in children whose deaths are counted.

Exit status 0 tells that every object was refused by name or read whole. A case can be had again by its number:
``malformed(CASE)`` of `twap_pipeline_tests.fuzz_parquet`.
"""

import argparse
import time

from twap_pipeline_tests.fuzz_parquet import FuzzReport, run_cases

_BATCH = 1_000


def main() -> None:
    """Print outcomes and faults."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    options.add_argument("--minutes", type=float, default=5)
    options.add_argument("--first", type=int, default=0)
    given = options.parse_args()
    whole, case = FuzzReport(), given.first
    end = time.monotonic() + 60 * given.minutes
    while time.monotonic() < end:
        found = run_cases(case, _BATCH)
        whole.outcomes.update(found.outcomes)
        for number, fault in found.faults:
            print(f"case {number}: {fault}", flush=True)
        case += _BATCH
    for outcome, count in sorted(whole.outcomes.items()):
        print(f"{outcome:<20} {count:>10,}")
    print(f"{'cases':<20} {whole.cases:>10,}   ({given.first} to {case - 1})")
    raise SystemExit(1 if whole.outcomes["fault"] else 0)


if __name__ == "__main__":
    main()
