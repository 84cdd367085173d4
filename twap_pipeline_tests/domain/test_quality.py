"""The fates of rows add up, for one object and for many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.quality import Fates
from twap_pipeline_tests.examples import examples

pytestmark = pytest.mark.pure

fates = st.builds(Fates, *[st.integers(0, 10**9)] * 6)


def test_rows_read_are_the_sum_of_all_fates() -> None:
    assert Fates(1, 2, 3, 4, 5, 6).read == 21


def test_rows_held_are_those_whose_event_the_table_shows() -> None:
    assert Fates(inserted=1, updated=2, unchanged=4, superseded=8, quarantined=16, bookkeeping=32).held == 7


def test_nothing_is_no_rows() -> None:
    assert Fates() == Fates.total([])
    assert (Fates().read, Fates().held) == (0, 0)


@given(st.lists(fates, max_size=5))
@examples(50)
def test_a_total_keeps_every_fate_apart(parts: list[Fates]) -> None:
    total = Fates.total(parts)

    assert total.as_dict() == {name: sum(part.as_dict()[name] for part in parts) for name in Fates().as_dict()}
    assert total.read == sum(part.read for part in parts)


@given(fates, fates)
@examples(50)
def test_adding_does_not_depend_on_the_order(one: Fates, other: Fates) -> None:
    assert one + other == other + one


def test_fates_are_named_in_the_order_of_the_rule() -> None:
    assert list(Fates().as_dict()) == ["inserted", "updated", "unchanged", "superseded", "quarantined", "bookkeeping"]
