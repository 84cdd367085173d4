"""Grouping of partitions into runs: the smallest number of ranges that cover the days."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.defs.partitions import group_into_ranges
from twap_pipeline_tests.hypothesis_profiles import examples

FIRST = date(2025, 8, 17)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def test_ranges_of_no_days_are_empty() -> None:
    assert group_into_ranges([], 30) == []


def test_ranges_of_one_day() -> None:
    assert group_into_ranges([FIRST], 30) == [(FIRST, FIRST)]


def test_ranges_of_consecutive_days_have_maximum_length() -> None:
    assert group_into_ranges([day(number) for number in range(7)], 3) == [
        (day(0), day(2)),
        (day(3), day(5)),
        (day(6), day(6)),
    ]


def test_ranges_start_and_end_with_given_days() -> None:
    assert group_into_ranges([day(0), day(2), day(9), day(40)], 5) == [
        (day(0), day(2)),
        (day(9), day(9)),
        (day(40), day(40)),
    ]


def test_ranges_contain_only_covered_days() -> None:
    days, covered = [day(0), day(2), day(4), day(5)], {day(3)}

    assert group_into_ranges(days, 30, covered=covered) == [(day(0), day(0)), (day(2), day(5))]


def test_ranges_ignore_order_and_duplicates() -> None:
    assert group_into_ranges([day(4), day(0), day(4), day(1)], 2) == [(day(0), day(1)), (day(4), day(4))]


def test_ranges_of_length_one_contain_one_day() -> None:
    assert group_into_ranges([day(0), day(1)], 1) == [(day(0), day(0)), (day(1), day(1))]


@given(st.lists(st.dates(date(2025, 1, 1), date(2026, 12, 31)), max_size=40), st.integers(1, 60))
@examples(100)
def test_ranges_cover_each_day_once_within_length(days: list[date], length: int) -> None:
    ranges = group_into_ranges(days, length)

    assert all(sum(first <= day <= last for first, last in ranges) == 1 for day in days)
    assert all(first in days and last in days for first, last in ranges)
    assert all((last - first).days < length for first, last in ranges)
    assert ranges == sorted(ranges)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=7), st.integers(1, 5))
@examples(75)
def test_ranges_are_as_few_as_possible(numbers: list[int], length: int) -> None:
    fewest = 0
    open_numbers = set(numbers)
    while open_numbers:  # the first open day starts a range, which reaches as far as possible
        start = min(open_numbers)
        open_numbers -= set(range(start, start + length))
        fewest += 1

    assert len(group_into_ranges([day(number) for number in numbers], length)) == fewest
