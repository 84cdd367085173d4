"""Unit tests of key dates, day prefixes, partition dates and fingerprints."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twap_pipeline.domain.object_ref import (
    KEY_DATE_PATTERNS,
    ObjectRef,
    day_from_key,
    day_prefix,
    fingerprint,
    key_layout,
    partition_date,
    resolve_key_date_patterns,
)
from twap_pipeline_tests.feed_factories import LAST_MODIFIED, listed
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

DAY = date(2026, 9, 24)
UNUSUAL_NAMES = ["a b", "a+b", "%25", "%2F", "é", "e\u0301", "😀", "ключ", "a\\b", "a\tb", "a\nb", "..", "x" * 900]

s3_keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
no_digits = st.text(st.characters(exclude_categories=["Cs", "N"]), max_size=20)
refs = st.builds(
    ObjectRef,
    key=s3_keys,
    etag=st.text("0123456789abcdef-", min_size=1, max_size=8),
    last_modified=st.datetimes(timezones=st.just(UTC)),
    size_bytes=st.integers(0, 2**40),
)


@pytest.mark.parametrize(
    "key",
    [
        "raw/twap_statuses/hourly/2026/09/24/11/part-0000.parquet",
        "raw/twap_statuses/2026/09/24/x.parquet",
        "2026/09/24/x.parquet",
        "raw/date=2026-09-24/hour=11/x.parquet",
        "date=2026-09-24/x.parquet",
        "raw/year=2026/month=09/day=24/x.parquet",
        "raw/year=2026/month=9/day=24/x.parquet",
        "raw/twaps_2026-09-24T11.parquet",
        "raw/twaps_20260924.parquet",
        "raw/20260924/11.parquet",
        "raw/2026-09-24-11.parquet",
    ],
)
def test_day_from_key_every_built_in_pattern(key: str) -> None:
    assert day_from_key(key) == DAY


@pytest.mark.parametrize(
    "key",
    [
        "",
        "raw/x.parquet",
        "raw/2026/13/40/x.parquet",
        "raw/date=2026-02-30/x.parquet",
        "raw/202609241.parquet",
        "raw/120260924.parquet",
        "raw/1999-09-24.parquet",
        "raw/2026/09/x.parquet",
        "raw/0000/00/00/x.parquet",
    ],
)
def test_day_from_key_without_valid_date_is_none(key: str) -> None:
    assert day_from_key(key) is None


def test_day_from_key_tries_patterns_in_order() -> None:
    key = "export-20250101/date=2026-09-24/2025/02/02/x.parquet"

    assert day_from_key(key) == DAY
    assert day_from_key(key, KEY_DATE_PATTERNS[1:]) == date(2025, 2, 2)
    assert day_from_key(key, KEY_DATE_PATTERNS[4:]) == date(2025, 1, 1)


@pytest.mark.parametrize(
    "key",
    [
        "raw/date=2026-13-01/2026/09/24/x.parquet",
        "raw/2026/99/99/x/2026/09/24/x.parquet",
        "raw/0000/00/00/2026/09/24/x.parquet",
        "20269999_20260924",
    ],
)
def test_day_from_key_skips_matches_that_are_not_dates(key: str) -> None:
    assert day_from_key(key) == DAY


def test_day_from_key_configured_pattern() -> None:
    assert day_from_key("d24m09y2026", [r"d(?P<day>\d\d)m(?P<month>\d\d)y(?P<year>\d{4})"]) == DAY


def test_configured_pattern_is_tried_first() -> None:
    assert resolve_key_date_patterns("x") == ("x", *KEY_DATE_PATTERNS)
    assert resolve_key_date_patterns(None) == resolve_key_date_patterns("") == KEY_DATE_PATTERNS


KEY_FORMATS = [
    "raw/hourly/{0:%Y/%m/%d}/11/part-0000.parquet",
    "{0:%Y/%m/%d}/x.parquet",
    "raw/date={0:%Y-%m-%d}/hour=11/x.parquet",
    "raw/year={0:%Y}/month={0:%m}/day={0:%d}/x.parquet",
    "raw/year={0.year}/month={0.month}/day={0.day}/x.parquet",
    "raw/twaps_{0:%Y-%m-%d}T11.parquet",
    "raw/twaps_{0:%Y%m%d}.parquet",
    "raw/😀 {0:%Y%m%d}/x.parquet",
]


def layout(key: str, patterns: Sequence[str] = KEY_DATE_PATTERNS) -> str:
    return key_layout(listed(key=key), patterns)


@pytest.mark.fault("D1")
@given(
    key_format=st.sampled_from(KEY_FORMATS),
    known=st.dates(date(2023, 1, 1), date(2029, 12, 31)),
    day=st.dates(date(2023, 1, 1), date(2029, 12, 31)),
)
@examples(100)
def test_day_prefix_starts_the_keys_of_the_day(key_format: str, known: date, day: date) -> None:
    """Of the day of the known key, and of every day whose date has the same widths."""
    key_of_day = key_format.format(day)
    prefix = day_prefix(layout(key_format.format(known)), day)

    assert key_format.format(known).startswith(day_prefix(layout(key_format.format(known)), known))
    assert day_from_key(f"{prefix}/x") == day
    if layout(key_of_day) == layout(key_format.format(known)):
        assert key_of_day.startswith(prefix)


def test_layouts_of_dates_without_leading_zeros_differ() -> None:
    days = [date(2026, 1, 1), date(2026, 1, 31), date(2026, 12, 1), date(2026, 12, 31)]
    layouts = [layout(f"raw/year={day.year}/month={day.month}/day={day.day}/x") for day in days]

    assert layouts[0] == "raw/year={year:04}/month={month:01}/day={day:01}"
    assert len(set(layouts)) == 4


@pytest.mark.fault("D1")
def test_day_prefix_pattern_with_day_before_year() -> None:
    pattern = r"(?P<day>\d\d)\.(?P<month>\d\d)\.(?P<year>\d{4})/"

    assert day_prefix(layout("raw/17.08.2025/x.parquet", [pattern]), DAY) == "raw/24.09.2026"


@pytest.mark.fault("D1")
def test_day_prefix_skips_matches_that_are_not_dates() -> None:
    assert day_prefix(layout("raw/2026/99/99/x/2026/09/23/x.parquet"), DAY) == "raw/2026/99/99/x/2026/09/24"


@pytest.mark.fault("D7")
def test_key_with_braces_has_the_prefix_of_its_text() -> None:
    assert day_prefix(layout("raw/{year}{}/20260923.parquet"), DAY) == "raw/{year}{}/20260924"
    assert day_prefix(layout("raw/{day}.parquet"), DAY) == "raw/{day}.parquet"


@pytest.mark.fault("D7")
def test_layout_of_escaped_key_is_empty_before_the_date_only() -> None:
    assert layout("raw/\0/20260923/x.parquet") == ""
    assert layout("raw/\udcff.parquet") == ""
    assert layout("raw/20260923/\0.parquet") == "raw/{year:04}{month:02}{day:02}"


@pytest.mark.fault("D7")
@pytest.mark.parametrize("name", UNUSUAL_NAMES)
def test_day_from_key_with_unusual_names(name: str) -> None:
    assert day_from_key(f"raw/{name}/2026/09/24/{name}.parquet") == DAY
    assert day_from_key(f"raw/{name}/date=2026-09-24/{name}.parquet") == DAY


@pytest.mark.fault("D7")
@given(day=st.dates(date(2000, 1, 1), date(2099, 12, 31)), before=no_digits, after=no_digits)
@examples(50)
def test_day_from_key_any_day_and_alphabet(day: date, before: str, after: str) -> None:
    expected = {day}

    assert {
        day_from_key(f"{before}/{day:%Y/%m/%d}/{after}"),
        day_from_key(f"{before}/date={day:%Y-%m-%d}/{after}"),
        day_from_key(f"{before}/year={day:%Y}/month={day.month}/day={day.day}/{after}"),
        day_from_key(f"{before}{day:%Y-%m-%d}{after}"),
        day_from_key(f"{before}{day:%Y%m%d}{after}"),
    } == expected


@pytest.mark.fault("D7")
@given(refs)
@examples(50)
@example(ObjectRef("9999/99/99/\U0001f600", "e", LAST_MODIFIED, 0))
def test_partition_date_exists_for_any_key(ref: ObjectRef) -> None:
    assert partition_date(ref) == (day_from_key(ref.key) or ref.last_modified.date())


def test_partition_date_without_key_date_is_utc_last_modified() -> None:
    tokyo_time = datetime(2026, 9, 25, 8, tzinfo=timezone(timedelta(hours=9)))

    assert partition_date(ObjectRef("x.parquet", "e", tokyo_time, 1)) == DAY


def test_partition_date_prefers_the_key_date() -> None:
    assert partition_date(listed(key="2025/08/17/x.parquet")) == date(2025, 8, 17)


@given(st.lists(refs, max_size=6, unique_by=lambda ref: ref.key), st.randoms(use_true_random=False))
@examples(50)
def test_fingerprint_is_independent_of_order(listing: list[ObjectRef], random: Random) -> None:
    shuffled = random.sample(listing, len(listing))

    assert fingerprint(shuffled) == fingerprint(listing)
    assert len(fingerprint(listing)) == 16


@given(st.lists(refs, min_size=2, max_size=6, unique_by=lambda ref: ref.key))
@examples(50)
def test_fingerprint_changes_with_every_added_object(listing: list[ObjectRef]) -> None:
    assert len({fingerprint(listing[:count]) for count in range(len(listing) + 1)}) == len(listing) + 1


@pytest.mark.fault("D2")
def test_fingerprint_changes_with_etag_and_last_modified() -> None:
    before = fingerprint([listed(etag="a")])

    assert fingerprint([listed(etag="b")]) != before
    assert fingerprint([listed(etag="a", hours=5)]) != before
    assert fingerprint([listed(etag="a", data=b"more")]) == before


@pytest.mark.fault("D7")
@pytest.mark.parametrize(("first", "second"), [("é", "e\u0301"), ("%25", "%"), ("a b", "a+b"), ("a", "a ")])
def test_fingerprint_of_similar_keys_differs(first: str, second: str) -> None:
    assert listed(key=first) != listed(key=second)
    assert fingerprint([listed(key=first)]) != fingerprint([listed(key=second)])


@pytest.mark.fault("D7")
def test_fingerprint_of_non_utf8_key() -> None:
    assert fingerprint([listed(key="\udcff.parquet")]) != fingerprint([listed(key="\udcfe.parquet")])


@pytest.mark.fault("D7")
def test_fingerprint_separates_key_and_etag() -> None:
    assert fingerprint([listed(key="ab", etag="c")]) != fingerprint([listed(key="a", etag="bc")])


@pytest.mark.fault("F7")
@pytest.mark.parametrize(
    ("last_modified", "size_bytes", "reason"),
    [
        (datetime(9999, 12, 31, 23, tzinfo=UTC), 1, "LastModified 9999-12-31T23:00:00+00:00 has no time zone or is"),
        (datetime(2025, 8, 21), 1, "LastModified 2025-08-21T00:00:00 has no time zone"),  # noqa: DTZ001
        (LAST_MODIFIED, 10**19, "a size of 10000000000000000000 bytes is not valid"),
        (LAST_MODIFIED, -1, "a size of -1 bytes is not valid"),
    ],
)
def test_ref_of_a_listing_entry_that_is_not_valid_has_reason(
    last_modified: datetime, size_bytes: int, reason: str
) -> None:
    ref = ObjectRef("a.parquet", "e", last_modified, size_bytes)

    assert (ref.invalid or "").startswith(reason)
    assert (ref.last_modified.tzinfo, ref.size_bytes in (0, 1)) == (UTC, True)
