"""Fuzzing in the suite: some hundred malformed objects with fixed seeds, read in a process of their own.

``python -m benchmarks.fuzz --minutes N`` goes on for as long as asked.
"""

import sys

import pytest

from twap_pipeline_tests.fuzz_parquet import malformed, read, run_cases, sound_objects

pytestmark = pytest.mark.unit


@pytest.mark.fault("F1")
def test_malformed_objects_are_refused_by_name_or_read_whole_and_kill_no_process() -> None:
    findings = run_cases(0, 800)

    assert findings.faults == []
    assert findings.cases == 800
    assert min(findings.outcomes["refused by name"], findings.outcomes["read whole"]) > 50


def test_every_sound_object_that_is_spoiled_can_be_read() -> None:
    assert {read(data) for data in sound_objects()} == {"read whole"}


_DIES_AT_ONE = """
import os, sys
first, count = map(int, sys.argv[1:])
for case in range(first, first + count):
    print(case, flush=True)
    if case == 1:
        os.abort()
    print(case, "read whole", sep="\\t", flush=True)
"""


def test_a_child_that_dies_is_counted_and_the_next_one_goes_on() -> None:
    findings = run_cases(0, 3, (sys.executable, "-c", _DIES_AT_ONE))

    assert findings.faults == [(1, "the process died or hung")]
    assert findings.outcomes == {"read whole": 2, "fault": 1}


@pytest.mark.fault("F1")
@pytest.mark.parametrize("case", [963, 5305, 7298, 16_656])
def test_what_fuzzing_has_found_stays_mended(case: int) -> None:
    """963: an index beyond its dictionary. The others: unreadable rows after a piece of sound ones."""
    assert read(malformed(case)) in {"refused by name", "read whole"}
