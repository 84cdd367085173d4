"""Rows against seconds: one object of ten thousand rows and of each larger power of ten."""

from benchmarks.harness import Bench, print_table
from benchmarks.one_object import LIMIT, NEW, measure_rows


def run(bench: Bench) -> None:
    """Print a table for each size; ten million rows only where asked for."""
    sizes = (1_000, 10_000) if bench.is_quick else (10_000, 100_000, 1_000_000)
    for rows in (*sizes, 10_000_000) if bench.is_largest else sizes:
        taken = measure_rows(bench, rows, 1 if rows > 1_000_000 else bench.rounds, with_half=False)
        print_table(f"{rows:,} rows", {LIMIT: taken[LIMIT], NEW: taken[NEW]}, LIMIT)
