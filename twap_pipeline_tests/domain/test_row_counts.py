"""Unit tests of `RowCounts`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

row_counts = st.builds(RowCounts, *[st.integers(0, 10**9)] * 6)


def test_total_is_the_sum_of_all_outcomes() -> None:
    assert RowCounts(1, 2, 3, 4, 5, 6).total == 21


def test_stored_is_inserted_updated_and_unchanged() -> None:
    assert RowCounts(inserted=1, updated=2, unchanged=4, superseded=8, quarantined=16, metadata=32).stored == 7


def test_sum_of_nothing_is_zero() -> None:
    assert RowCounts() == RowCounts.sum_of([])
    assert (RowCounts().total, RowCounts().stored) == (0, 0)


@given(st.lists(row_counts, max_size=5))
@examples(50)
def test_sum_adds_each_outcome(parts: list[RowCounts]) -> None:
    total = RowCounts.sum_of(parts)

    assert total.as_dict() == {name: sum(part.as_dict()[name] for part in parts) for name in RowCounts().as_dict()}
    assert total.total == sum(part.total for part in parts)


@given(row_counts, row_counts)
@examples(50)
def test_addition_is_commutative(left: RowCounts, right: RowCounts) -> None:
    assert left + right == right + left


def test_as_dict_has_the_documented_order() -> None:
    assert list(RowCounts().as_dict()) == [
        "inserted",
        "updated",
        "unchanged",
        "superseded",
        "quarantined",
        "metadata",
    ]
