"""Unit tests of the request counts and prices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.source.s3_pricing import KEYS_PER_LIST, get_cost_usd, list_cost_usd, list_requests
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("objects", "requests"), [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (100_000, 100)])
def test_list_requests_are_rounded_up_and_at_least_one(objects: int, requests: int) -> None:
    assert list_requests(objects) == requests


@given(st.integers(0, 10**9))
@examples(50)
def test_list_requests_contain_all_keys_without_empty_ones(objects: int) -> None:
    requests = list_requests(objects)

    assert objects <= requests * KEYS_PER_LIST < max(1, objects) + KEYS_PER_LIST


def test_costs_equal_the_published_prices() -> None:
    assert list_cost_usd(100_000) == pytest.approx(0.0005)
    assert get_cost_usd(1_000, 0) == pytest.approx(0.0004)
    assert get_cost_usd(0, 10**9) == pytest.approx(0.09)
    assert get_cost_usd(10_000, 365 * 10**6) == pytest.approx(0.004 + 0.03285)


def test_get_cost_of_nothing_is_zero() -> None:
    assert get_cost_usd(0, 0) == 0
