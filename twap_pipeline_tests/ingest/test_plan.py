"""The plan: which objects are pending, loaded or parked, by (key, ETag) alone; grouping by day; byte budgets."""

from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import BudgetExceededError
from twap_pipeline.ingest.plan import Plan, check_budget, group_by_day, objects_before, plan
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX, IngestLogEntry
from twap_pipeline_tests.feed_factories import LAST_MODIFIED, listed
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit


def entry(etag: str | None = "e", error_text: str | None = None, attempts: int = 0) -> IngestLogEntry:
    return IngestLogEntry(etag, LAST_MODIFIED, error_text, attempts, ingested_at=LAST_MODIFIED)


def failed(attempts: int, etag: str = "e") -> IngestLogEntry:
    return entry(etag, "cannot be decoded", attempts)


keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
refs = st.builds(
    ObjectRef,
    key=keys,
    etag=st.sampled_from(["e", "f"]),
    last_modified=st.datetimes(timezones=st.just(UTC)),
    size_bytes=st.integers(0, 10**6),
)
entries = st.builds(
    entry, st.sampled_from(["e", "f", None]), st.sampled_from([None, "error"]), st.integers(0, ATTEMPTS_MAX + 1)
)


def test_object_without_a_log_entry_is_pending() -> None:
    ref = listed(b"12345")

    assert plan([ref], {}) == Plan(pending=(ref,), loaded=(), parked=())


def test_loaded_object_is_not_pending() -> None:
    ref = listed()

    assert plan([ref], {ref.key: entry()}) == Plan(pending=(), loaded=(ref,), parked=())


@pytest.mark.fault("D1")
@pytest.mark.parametrize("hours", [0, -1, -24 * 365])
def test_object_older_than_the_newest_loaded_is_pending(hours: float) -> None:
    newest, late = listed(key="2026/09/24/z.parquet"), listed(key="2026/09/24/a.parquet", hours=hours)

    assert plan([newest, late], {newest.key: entry()}).pending == (late,)


@pytest.mark.fault("D2")
@pytest.mark.parametrize("hours", [1, 0, -1])
def test_overwritten_object_is_pending(hours: float) -> None:
    ref = listed(etag="new", hours=hours)

    assert plan([ref], {ref.key: entry("old")}).pending == (ref,)


@pytest.mark.parametrize(("hours", "is_pending"), [(1, True), (-1, False)])
def test_same_etag_is_pending_only_if_uploaded_later(hours: float, is_pending: bool) -> None:
    ref = listed(hours=hours)

    assert plan([ref], {ref.key: entry()}).pending == ((ref,) if is_pending else ())


@pytest.mark.fault("D2")
def test_object_with_an_entry_without_etag_is_pending() -> None:
    ref = listed()

    assert plan([ref], {ref.key: entry(None)}).pending == (ref,)


@pytest.mark.fault("R1")
@pytest.mark.parametrize("attempts", range(ATTEMPTS_MAX))
def test_failed_object_is_pending(attempts: int) -> None:
    ref = listed()

    assert plan([ref], {ref.key: failed(attempts)}).pending == (ref,)


@pytest.mark.fault("R1")
@pytest.mark.parametrize("attempts", [ATTEMPTS_MAX, ATTEMPTS_MAX + 1])
def test_object_failed_too_often_is_parked_until_it_changes(attempts: int) -> None:
    ref, changed = listed(), listed(etag="changed")

    assert plan([ref], {ref.key: failed(attempts)}).parked == (ref,)
    assert plan([changed], {ref.key: failed(attempts)}).pending == (changed,)


@pytest.mark.fault("R1")
def test_parked_object_is_pending_when_named_by_key() -> None:
    parked, other = listed(key="a"), listed(key="b")

    result = plan([parked, other], {"a": failed(ATTEMPTS_MAX)}, only=["a"])

    assert result == Plan(pending=(parked,), loaded=(), parked=())


def test_loaded_object_named_by_key_is_not_pending() -> None:
    ref = listed(key="a")

    assert plan([ref], {"a": entry()}, only=["a"]) == Plan(pending=(), loaded=(ref,), parked=())


@pytest.mark.fault("D7")
def test_keys_in_other_unicode_forms_are_different_keys() -> None:
    ref = listed(key="cafe\u0301")

    assert plan([ref], {"caf\u00e9": entry()}).pending == (ref,)


@given(st.lists(refs, max_size=8, unique_by=lambda ref: ref.key), st.data())
@examples(75)
def test_every_object_is_pending_loaded_or_parked(listing: list[ObjectRef], data: st.DataObject) -> None:
    log = {ref.key: data.draw(entries) for ref in listing if data.draw(st.booleans())}

    result = plan(listing, log)

    assert sorted([*result.pending, *result.loaded, *result.parked]) == sorted(listing)
    assert all(log[ref.key].is_loaded(ref) for ref in result.loaded)
    assert all(log[ref.key].is_parked(ref) for ref in result.parked)


@given(st.lists(refs, max_size=8, unique_by=lambda ref: ref.key), st.randoms(use_true_random=False))
@examples(50)
def test_days_and_keys_are_sorted_whatever_the_listing_order(listing: list[ObjectRef], random: Random) -> None:
    days = group_by_day(random.sample(listing, len(listing)))

    assert days == group_by_day(listing)
    assert list(days) == sorted(days)
    assert all(refs == sorted(refs) for refs in days.values())
    assert sorted(ref for refs in days.values() for ref in refs) == sorted(listing)


def test_day_is_from_the_key_or_else_last_modified() -> None:
    named, unnamed = listed(key="2025/08/17/x.parquet"), listed(key="x.parquet")

    assert group_by_day([named, unnamed]) == {date(2025, 8, 17): [named], date(2026, 9, 24): [unnamed]}


def test_day_is_from_a_custom_key_date_pattern() -> None:
    ref = listed(key="2025/08/17/d18.parquet")

    assert list(group_by_day([ref], [r"(?P<year>\d{4})/(?P<month>\d\d)/\d\d/d(?P<day>\d\d)"])) == [date(2025, 8, 18)]


@pytest.mark.fault("D12")
def test_objects_before_the_first_partition_are_returned() -> None:
    refs = [listed(key=f"2025/08/{day}/x.parquet") for day in (15, 16, 17, 18)]

    assert objects_before(group_by_day(refs), date(2025, 8, 17)) == refs[:2]
    assert objects_before(group_by_day(refs), date(2025, 8, 15)) == []


@pytest.mark.fault("R5")
def test_day_is_the_utc_day() -> None:
    midnight = datetime(2026, 9, 24, tzinfo=UTC)
    before = ObjectRef("a", "e", midnight - timedelta(microseconds=1), 1)
    after = ObjectRef("b", "e", midnight, 1)

    assert group_by_day([before, after]) == {date(2026, 9, 23): [before], date(2026, 9, 24): [after]}


@pytest.mark.fault("X1")
@pytest.mark.parametrize(
    ("run", "day", "read_today"), [(None, None, 10**12), (5, None, 10**12), (None, 8, 3), (5, 5, 0), (5, 8, 3)]
)
def test_budget_allows_its_last_byte(run: int | None, day: int | None, read_today: int) -> None:
    pending = [listed(b"123", key="a"), listed(b"45", key="b")]

    check_budget(pending, max_bytes=run, max_bytes_today=day, read_today_bytes=read_today)


@pytest.mark.fault("X1")
@pytest.mark.parametrize(
    ("run", "day", "read_today", "setting"),
    [
        (4, None, 0, "TWAP_MAX_BYTES_PER_RUN allows 4"),
        (0, None, 0, "TWAP_MAX_BYTES_PER_RUN allows 0"),
        (4, 4, 0, "TWAP_MAX_BYTES_PER_RUN allows 4"),
        (None, 7, 3, "TWAP_MAX_BYTES_PER_DAY allows 7"),
        (5, 0, 0, "TWAP_MAX_BYTES_PER_DAY allows 0"),
    ],
)
def test_exceeded_budget_is_named_in_the_error(run: int | None, day: int | None, read_today: int, setting: str) -> None:
    pending = [listed(b"123", key="a"), listed(b"45", key="b")]

    with pytest.raises(BudgetExceededError, match=setting) as raised:
        check_budget(pending, max_bytes=run, max_bytes_today=day, read_today_bytes=read_today)

    assert "2 objects of 5 bytes" in str(raised.value)


@pytest.mark.fault("X1")
def test_spent_budget_allows_an_empty_run() -> None:
    check_budget([], max_bytes=0, max_bytes_today=10, read_today_bytes=11)
