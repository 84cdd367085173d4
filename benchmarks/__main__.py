"""``python -m benchmarks``: every ratio in one table, each against a limit measured in the same rounds.

``python -m benchmarks.year_backfill``, ``.tick`` and ``.dev_start`` measure Dagster's share.
"""

import argparse

from benchmarks import competitors, imports, many_objects, one_object, partitioning, plan_large_log, reads, scale
from benchmarks.harness import open_bench, print_setting

PARTS = {
    "one": one_object.run,
    "many": many_objects.run,
    "nothing-new": plan_large_log.run,
    "imports": imports.run,
    "reads": reads.run,
    "scale": scale.run,
    "beyond": partitioning.run,
    "peers": competitors.run,
}


def main() -> None:
    """Run the parts that were asked for."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    options.add_argument("--largest", action="store_true", help="ten million rows too")
    given = options.parse_args()
    with open_bench(given.rounds, is_quick=given.quick, is_largest=given.largest) as bench:
        print_setting(bench)
        for name, part in PARTS.items():
            if given.only is None or name in given.only:
                part(bench)


if __name__ == "__main__":
    main()
