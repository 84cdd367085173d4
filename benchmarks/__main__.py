"""``python -m benchmarks``: prints each part's times as ratios to a limit that is measured in the same rounds.

``benchmarks.api``, ``.scale_out``, ``.year_backfill`` and ``.dev_start`` are commands of their own.
"""

import argparse

from benchmarks import audit, competitors, imports, many_objects, one_object, reads, run_and_tick
from benchmarks.harness import open_bench, print_environment

PARTS = {
    "one": one_object.run,
    "many": many_objects.run,
    "objects": run_and_tick.run,
    "audit": audit.run,
    "imports": imports.run,
    "reads": reads.run,
    "scale": one_object.run_scale,
    "processes": many_objects.run_processes,
    "competitors": competitors.run,
}


def main() -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="how often each workload runs")
    parser.add_argument("--quick", action="store_true", help="use small sizes, to test that every part works")
    parser.add_argument("--largest", action="store_true", help="scale, objects, audit: also the largest sizes")
    options = parser.parse_args()
    with open_bench(options.rounds, is_quick=options.quick, is_largest=options.largest) as bench:
        print_environment(bench)
        for name, run in PARTS.items():
            if options.only is None or name in options.only:
                run(bench)


if __name__ == "__main__":
    main()
