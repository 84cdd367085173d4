"""The row_counts of rows add up, for one object and for many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

row_counts = st.builds(RowCounts, *[st.integers(0, 10**9)] * 6)


def test_rows_read_are_the_sum_of_all_fates() -> None:
    assert RowCounts(1, 2, 3, 4, 5, 6).total == 21


def test_rows_held_are_those_whose_event_the_table_shows() -> None:
    assert RowCounts(inserted=1, updated=2, unchanged=4, superseded=8, quarantined=16, metadata=32).stored == 7


def test_nothing_is_no_rows() -> None:
    assert RowCounts() == RowCounts.sum_of([])
    assert (RowCounts().total, RowCounts().stored) == (0, 0)


@given(st.lists(row_counts, max_size=5))
@examples(50)
def test_a_total_keeps_every_fate_apart(parts: list[RowCounts]) -> None:
    total = RowCounts.sum_of(parts)

    assert total.as_dict() == {name: sum(part.as_dict()[name] for part in parts) for name in RowCounts().as_dict()}
    assert total.total == sum(part.total for part in parts)


@given(row_counts, row_counts)
@examples(50)
def test_adding_does_not_depend_on_the_order(one: RowCounts, other: RowCounts) -> None:
    assert one + other == other + one


def test_fates_are_named_in_the_order_of_the_rule() -> None:
    assert list(RowCounts().as_dict()) == [
        "inserted",
        "updated",
        "unchanged",
        "superseded",
        "quarantined",
        "metadata",
    ]
