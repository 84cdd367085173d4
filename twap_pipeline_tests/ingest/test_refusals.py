"""Unit tests of `RefusalStreak`: refusals of single objects, and refusals by the store as a whole."""

import pytest

from twap_pipeline.errors import ObjectRefusedError, SourceAccessError
from twap_pipeline.ingest.refusals import REFUSALS_MAX, Refusal, RefusalStreak
from twap_pipeline.storage.ingest_log import Attempt
from twap_pipeline_tests.factories import DAY
from twap_pipeline_tests.feed_factories import listed

pytestmark = pytest.mark.unit


def refusal(key: str) -> Refusal:
    return Refusal(listed(key=key), Attempt(DAY, "s3://bucket/", 0), ObjectRefusedError(key, f"GET {key}: 403"))


@pytest.mark.fault("S7")
def test_refusals_fewer_than_the_limit_are_failures_of_objects() -> None:
    streak = RefusalStreak()
    refusals = [refusal(str(number)) for number in range(REFUSALS_MAX - 1)]
    for refused in refusals:
        streak.add(refused)

    assert streak.end() == refusals
    assert streak.end() == []


@pytest.mark.fault("S7")
def test_refusals_in_a_row_are_a_failure_of_the_store() -> None:
    streak = RefusalStreak()
    for number in range(REFUSALS_MAX - 1):
        streak.add(refusal(f"key-{number}"))

    with pytest.raises(SourceAccessError, match=r"3 objects in a row.*: key-0, key-1, last.*GET last: 403"):
        streak.add(refusal("last"))


@pytest.mark.fault("S7")
def test_refusals_after_an_object_that_was_read_count_from_one() -> None:
    streak = RefusalStreak()
    for number in range(10):
        streak.add(refusal(str(number)))
        assert len(streak.end()) == 1
