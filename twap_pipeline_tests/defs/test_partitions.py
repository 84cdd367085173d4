"""Which days go into which run: the fewest ranges that cover the days asked for."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.defs.partitions import group_into_ranges
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

FIRST = date(2025, 8, 17)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def test_no_days_need_no_run() -> None:
    assert group_into_ranges([], 30) == []


def test_one_day_is_a_range_of_itself() -> None:
    assert group_into_ranges([FIRST], 30) == [(FIRST, FIRST)]


def test_days_in_a_row_are_cut_at_the_length() -> None:
    assert group_into_ranges([day(number) for number in range(7)], 3) == [
        (day(0), day(2)),
        (day(3), day(5)),
        (day(6), day(6)),
    ]


def test_a_range_starts_and_ends_at_days_asked_for_whatever_lies_between() -> None:
    assert group_into_ranges([day(0), day(2), day(9), day(40)], 5) == [
        (day(0), day(2)),
        (day(9), day(9)),
        (day(40), day(40)),
    ]


def test_order_and_repetition_of_the_days_do_not_matter() -> None:
    assert group_into_ranges([day(4), day(0), day(4), day(1)], 2) == [(day(0), day(1)), (day(4), day(4))]


def test_a_length_of_one_is_a_run_for_each_day() -> None:
    assert group_into_ranges([day(0), day(1)], 1) == [(day(0), day(0)), (day(1), day(1))]


@given(st.lists(st.dates(date(2025, 1, 1), date(2026, 12, 31)), max_size=40), st.integers(1, 60))
@examples(100)
def test_ranges_cover_every_day_once_in_order_and_are_short_enough(days: list[date], length: int) -> None:
    ranges = group_into_ranges(days, length)

    assert all(sum(first <= day <= last for first, last in ranges) == 1 for day in days)
    assert all(first in days and last in days for first, last in ranges)
    assert all((last - first).days < length for first, last in ranges)
    assert ranges == sorted(ranges)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=7), st.integers(1, 5))
@examples(75)
def test_no_cover_has_fewer_ranges(numbers: list[int], length: int) -> None:
    fewest = 0
    open_numbers = set(numbers)
    while open_numbers:  # the first day left must start a range, and none can reach further than this one
        start = min(open_numbers)
        open_numbers -= set(range(start, start + length))
        fewest += 1

    assert len(group_into_ranges([day(number) for number in numbers], length)) == fewest
