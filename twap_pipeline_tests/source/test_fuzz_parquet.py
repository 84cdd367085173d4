"""Fuzz tests: malformed objects with fixed seeds, read in a child process.

``python -m benchmarks.fuzz --minutes N`` runs more cases.
"""

import sys

import pytest

from twap_pipeline_tests.fuzz_parquet import malformed, read, run_cases, valid_objects


@pytest.mark.fault("F1")
def test_malformed_objects_are_refused_or_read_completely() -> None:
    report = run_cases(0, 300)

    assert report.failures == []
    assert report.cases == 300
    assert min(report.outcomes["refused"], report.outcomes["read"]) > 20


def test_valid_objects_are_read_completely() -> None:
    assert {read(data) for data in valid_objects()} == {"read"}


_DIES_AT_CASE_1 = """
import os, sys
first, count = map(int, sys.argv[1:])
for case in range(first, first + count):
    print(case, flush=True)
    if case == 1:
        os.abort()
    print(case, "read", sep="\\t", flush=True)
"""


def test_run_cases_counts_dead_child_and_continues() -> None:
    report = run_cases(0, 3, (sys.executable, "-c", _DIES_AT_CASE_1))

    assert report.failures == [(1, "the process died or hung")]
    assert report.outcomes == {"read": 2, "failure": 1}


@pytest.mark.fault("F1")
@pytest.mark.parametrize("case", [963, 5305, 7298, 16_656])
def test_malformed_regressions(case: int) -> None:
    """963: an index beyond its dictionary. The others: unreadable rows after valid rows."""
    assert read(malformed(case)) in {"refused", "read"}
