"""Other tools on the same objects and the same table, if they are installed. The limit is COPY.

No tool is a dependency: ``pip install --target FOLDER adbc-driver-postgresql dlt[postgres] sling-linux-amd64``, and
FOLDER in PYTHONPATH.
"""

from functools import partial
from importlib.util import find_spec

from benchmarks.competitor_loaders import LOADERS, load
from benchmarks.harness import Bench, print_table, run_rounds
from benchmarks.one_object import END_TO_END, LIMIT, end_to_end_runs, new_object_runs, write_input


def run(bench: Bench) -> None:
    """Print the table, and the tools that are not installed."""
    rows = 2_000 if bench.is_quick else 100_000
    path, encoded = write_input(bench, rows)
    runs = new_object_runs(bench, path, encoded)
    runs[END_TO_END] = end_to_end_runs(bench, path)[END_TO_END]
    missing = [label for label, (module, _) in LOADERS.items() if find_spec(module) is None]
    for label in [label for label in LOADERS if label not in missing]:
        runs[label] = partial(bench.measure_empty, load, label, str(path.parent))
    print_table(f"competitors, {rows:,} rows", run_rounds(bench.rounds, runs), LIMIT)
    if missing:
        print(f"not installed: {'; '.join(missing)}\n")
