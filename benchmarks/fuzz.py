"""``python -m benchmarks.fuzz``: reads malformed parquet objects in child processes and counts their outcomes.

The exit status is 0 if each object was read or rejected with an error of this project. The number of a case reproduces
it: ``malformed(CASE)`` of `twap_pipeline_tests.fuzz_parquet`.
"""

import argparse
import time

from twap_pipeline_tests.fuzz_parquet import FuzzReport, run_cases

_CASES_PER_BATCH = 1_000


def main() -> None:
    """Print the failures and the number of cases by outcome."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    options = parser.parse_args()
    total, case = FuzzReport(), options.first
    deadline = time.monotonic() + 60 * options.minutes
    while time.monotonic() < deadline:
        report = run_cases(case, _CASES_PER_BATCH)
        total.outcomes.update(report.outcomes)
        for number, failure in report.failures:
            print(f"case {number}: {failure}", flush=True)
        case += _CASES_PER_BATCH
    for outcome, count in sorted(total.outcomes.items()):
        print(f"{outcome:<20} {count:>10,}")
    print(f"{'cases':<20} {total.cases:>10,}   ({options.first} to {case - 1})")
    raise SystemExit(1 if total.outcomes["failure"] else 0)


if __name__ == "__main__":
    main()
