"""What a listing and a reading cost: whole requests, and bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.cost import KEYS_PER_LIST, list_requests, listing_dollars, reading_dollars
from twap_pipeline_tests.examples import examples

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(("objects", "requests"), [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (100_000, 100)])
def test_a_listing_takes_whole_requests_and_at_least_one(objects: int, requests: int) -> None:
    assert list_requests(objects) == requests


@given(st.integers(0, 10**9))
@examples(50)
def test_requests_hold_all_keys_and_none_is_idle(objects: int) -> None:
    requests = list_requests(objects)

    assert objects <= requests * KEYS_PER_LIST < max(1, objects) + KEYS_PER_LIST


def test_prices_are_those_of_the_page() -> None:
    assert listing_dollars(100_000) == pytest.approx(0.0005)
    assert reading_dollars(1_000, 0) == pytest.approx(0.0004)
    assert reading_dollars(0, 10**9) == pytest.approx(0.09)
    assert reading_dollars(10_000, 365 * 10**6) == pytest.approx(0.004 + 0.03285)


def test_nothing_read_costs_nothing() -> None:
    assert reading_dollars(0, 0) == 0
