"""What a listing and a reading cost: whole requests, and bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.source.s3_pricing import KEYS_PER_LIST, get_cost_usd, list_cost_usd, list_requests
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("objects", "requests"), [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (100_000, 100)])
def test_a_listing_takes_whole_requests_and_at_least_one(objects: int, requests: int) -> None:
    assert list_requests(objects) == requests


@given(st.integers(0, 10**9))
@examples(50)
def test_requests_hold_all_keys_and_none_is_idle(objects: int) -> None:
    requests = list_requests(objects)

    assert objects <= requests * KEYS_PER_LIST < max(1, objects) + KEYS_PER_LIST


def test_prices_are_those_of_the_page() -> None:
    assert list_cost_usd(100_000) == pytest.approx(0.0005)
    assert get_cost_usd(1_000, 0) == pytest.approx(0.0004)
    assert get_cost_usd(0, 10**9) == pytest.approx(0.09)
    assert get_cost_usd(10_000, 365 * 10**6) == pytest.approx(0.004 + 0.03285)


def test_nothing_read_costs_nothing() -> None:
    assert get_cost_usd(0, 0) == 0
