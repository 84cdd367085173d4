"""Rows against seconds: one object of ten thousand rows and of each larger power of ten."""

from benchmarks.bench import Bench, print_table
from benchmarks.one_object import LIMIT, NEW, measure_rows


def run(of: Bench) -> None:
    """Print a table for each size; ten million rows only where asked for."""
    sizes = (1_000, 10_000) if of.is_quick else (10_000, 100_000, 1_000_000)
    for rows in (*sizes, 10_000_000) if of.is_largest else sizes:
        taken = measure_rows(of, rows, 1 if rows > 1_000_000 else of.rounds, with_half=False)
        print_table(f"{rows:,} rows", {LIMIT: taken[LIMIT], NEW: taken[NEW]}, LIMIT)
