"""The audit compares two streams in key order: same findings as a comparison in memory, with bounded memory."""

import tracemalloc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from twap_pipeline.domain.object_ref import ObjectRef, partition_date
from twap_pipeline.errors import SourceUnavailableError
from twap_pipeline.ingest import audit as audit_module
from twap_pipeline.ingest.audit import AuditCode, audit, merge_by_key, to_findings
from twap_pipeline.storage.audit import counts
from twap_pipeline.storage.audit.counts import StoredObject
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX
from twap_pipeline_tests.factories import DAY, NOON
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.invariants import assert_no_open_sessions

HOUR = timedelta(hours=1)
DAYS = (DAY, DAY + timedelta(days=1))
# Keys whose order differs between bytes, languages and UTF-16. The last three are escaped, and are listed elsewhere.
KEYS = ("B", "a", "a-b", "a/b", "A~", "b", "é", "z", "~", "2025/08/21/a", "\ufb01", "\U0001f600")
ESCAPED_KEYS = ("a\0", "a\udcff", "\udc80b")

raw_keys = st.sampled_from(KEYS + ESCAPED_KEYS) | st.text("aB~é\\\0\udcff", min_size=1, max_size=4)


def listed_order(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


@pytest.mark.unit
@given(st.sets(raw_keys), st.sets(raw_keys))
@examples(100)
def test_merge_of_random_streams_equals_dicts(listed: set[str], stored: set[str]) -> None:
    refs = [ObjectRef(key, "e", NOON, 1) for key in sorted(listed, key=listed_order)]
    items = [StoredObject(key, None) for key in sorted({ObjectRef(key, "e", NOON, 1).key for key in stored})]

    merged = list(merge_by_key(refs, items))

    refs_by_key, items_by_key = {ref.key: ref for ref in refs}, {item.key: item for item in items}
    keys = [key for key, _, _ in merged]
    assert sorted(keys) == sorted(refs_by_key.keys() | items_by_key.keys())
    assert [(key, refs_by_key.get(key), items_by_key.get(key)) for key in keys] == merged


@pytest.mark.unit
@pytest.mark.parametrize("keys", ["ba", "aa"])
def test_merge_of_listing_out_of_order_raises(keys: str) -> None:
    with pytest.raises(ValueError, match=f"not in key order: '{keys[1]}' follows '{keys[0]}'"):
        list(merge_by_key([ObjectRef(key, "e", NOON, 1) for key in keys], []))


@pytest.mark.unit
def test_stored_objects_are_in_byte_order() -> None:
    """The order of a listing; a database can have another collation."""
    assert counts._QUERIES["stored_objects"].endswith('ORDER BY s3_object_key COLLATE "C"')


@pytest.mark.unit
def test_findings_count_all_and_keep_first_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "EXAMPLES_MAX", 2)

    findings = to_findings([*((AuditCode.PARKED, key) for key in "abc"), (AuditCode.NOT_INGESTED, "d")])

    assert [(finding.code, finding.examples, finding.count) for finding in findings] == [
        (AuditCode.NOT_INGESTED, ("d",), 1),
        (AuditCode.PARKED, ("a", "b"), 3),
    ]


@dataclass(frozen=True)
class Version:
    """A history entry of a loaded version, or an adjustment."""

    kind: str
    etag: str | None
    last_modified: datetime
    ingested_at: datetime
    recorded_at: datetime
    inserted: int
    has_wrong_sum: bool


@dataclass(frozen=True)
class Entry:
    """An ingest log entry."""

    etag: str | None
    last_modified: datetime
    size_bytes: int
    object_date: date
    ingested_at: datetime
    is_loaded: bool
    failed_attempts: int
    row_counts: tuple[int, int, int] | None
    rows_ingested: int
    history: list[Version]


times = st.integers(0, 3).map(lambda hours: NOON + hours * HOUR)
etags = st.sampled_from(["e1", "e2", None])
versions = st.builds(
    Version,
    st.sampled_from(["replaced_version", "requeued", "adjustment"]),
    etags,
    times,
    times,
    times,
    st.integers(-1, 1),
    st.booleans(),
)
entries = st.builds(
    Entry,
    etags,
    times,
    st.integers(1, 2),
    st.sampled_from(DAYS),
    times,
    st.booleans(),
    st.integers(0, 3),
    st.none() | st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1)),
    st.integers(0, 2),
    st.lists(versions, max_size=2),
)
listings = st.dictionaries(
    st.sampled_from(KEYS + ESCAPED_KEYS), st.tuples(st.sampled_from(["e1", "e2"]), times, st.integers(1, 2))
).map(lambda listed: [ObjectRef(key, *listed[key]) for key in sorted(listed, key=listed_order)])
stored_keys = st.sampled_from([ObjectRef(key, "e", NOON, 1).key for key in KEYS + ESCAPED_KEYS])
logs = st.dictionaries(stored_keys, entries)
stored_rows = st.dictionaries(st.tuples(stored_keys, st.none() | times), st.integers(1, 2))
quarantines = st.dictionaries(stored_keys, st.integers(1, 2))


@dataclass(frozen=True)
class Tables:
    """The content of the tables: entries, stored rows per object and LastModified, quarantined rows per object."""

    log: dict[str, Entry]
    rows: dict[tuple[str, datetime | None], int]
    quarantined: dict[str, int]


tables_of_objects = st.builds(Tables, logs, stored_rows, quarantines)

INSERT_ENTRY = text("""
INSERT INTO etl_s3_ingest_log (s3_object_key, etag, last_modified, size_bytes, object_date, ingested_at, error_text,
  failed_attempts, rows_ingested, rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded,
  rows_quarantined, rows_metadata)
VALUES (:key, :etag, :last_modified, :size_bytes, :object_date, :ingested_at, :error_text, :failed_attempts,
  :rows_ingested, :rows_read, :inserted, :updated, :zero, :zero, :quarantined, :zero)
""")
INSERT_VERSION = text("""
INSERT INTO etl_s3_ingest_history (s3_object_key, kind, etag, last_modified, ingested_at, recorded_at, rows_read,
  rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata)
VALUES (:key, :kind, :etag, :last_modified, :ingested_at, :recorded_at, :rows_read, :inserted, 0, 0, 0, 0, 0)
RETURNING history_id
""")
INSERT_ROW = text("""
INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key, s3_last_modified)
VALUES (:twap_id, 'w', now(), :key, :last_modified)
""")
INSERT_QUARANTINED = text("""
INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason)
VALUES (:key, :row_number, '{}', 'because')
""")


def fill(connection: Connection, tables: Tables) -> dict[str, list[int]]:
    """Replace the content of the tables; return key → numbers of the history entries."""
    for table in ("twap_status", "twap_status_quarantine", "etl_s3_ingest_log"):
        connection.execute(text(f"DELETE FROM {table}"))
    history_ids: dict[str, list[int]] = defaultdict(list)
    for key, entry in tables.log.items():
        inserted, updated, rejected = entry.row_counts or (None, None, None)
        connection.execute(
            INSERT_ENTRY,
            {
                "key": key,
                "etag": entry.etag,
                "last_modified": entry.last_modified,
                "size_bytes": entry.size_bytes,
                "object_date": entry.object_date,
                "ingested_at": entry.ingested_at,
                "error_text": None if entry.is_loaded else "because",
                "failed_attempts": entry.failed_attempts,
                "rows_ingested": entry.rows_ingested,
                "rows_read": None if entry.row_counts is None else sum(entry.row_counts),
                "inserted": inserted,
                "updated": updated,
                "quarantined": rejected,
                "zero": None if entry.row_counts is None else 0,
            },
        )
        for version in entry.history:
            parameters = {
                "key": key,
                "kind": version.kind,
                "etag": version.etag,
                "last_modified": version.last_modified,
                "ingested_at": version.ingested_at,
                "recorded_at": version.recorded_at,
                "rows_read": version.inserted + version.has_wrong_sum,
                "inserted": version.inserted,
            }
            history_ids[key].append(connection.execute(INSERT_VERSION, parameters).scalar_one())
    events = [
        {"twap_id": f"{number} {index}", "key": key, "last_modified": last_modified}
        for number, ((key, last_modified), count) in enumerate(tables.rows.items())
        for index in range(count)
    ]
    if events:
        connection.execute(INSERT_ROW, events)
    if tables.quarantined:
        lines = [{"key": key, "row_number": row} for key, count in tables.quarantined.items() for row in range(count)]
        connection.execute(INSERT_QUARANTINED, lines)
    return history_ids


def faults(entry: Entry) -> Iterator[tuple[int, str]]:
    """Yield position and reason of the wrong history entries."""
    loaded_at = entry.ingested_at if entry.is_loaded or entry.row_counts is not None else None
    past = [(place, item) for place, item in enumerate(entry.history) if item.kind != "adjustment"]
    following = [*(item.ingested_at for _, item in past[1:]), loaded_at]
    for (place, item), next_at in zip(past, following, strict=bool(past)):
        if item.ingested_at > item.recorded_at + HOUR:
            yield place, "it was replaced before it was loaded"
        elif next_at is not None and item.recorded_at > next_at + HOUR:
            yield place, "the next version was loaded before it was replaced"
        elif item.has_wrong_sum:
            yield place, "rows_read is not the sum of its row counts"


def reference(refs: Sequence[ObjectRef], since: date, tables: Tables) -> list[tuple[str, str]]:
    """Return code and key of each difference, from dictionaries; of ``row_count_mismatch`` the sums."""
    listed = {ref.key: ref for ref in refs}
    keys = {*listed, *tables.log, *tables.quarantined, *(key for key, _ in tables.rows)}
    log = tables.log.values()
    inserted = sum((entry.row_counts or (0,))[0] + sum(past.inserted for past in entry.history) for entry in log)
    stored = sum(tables.rows.values())
    sums = f"{inserted} rows inserted according to the ingest log, {stored} stored"
    return [
        *([("row_count_mismatch", sums)] if inserted != stored else []),
        *((code, key) for key in keys for code in listing_codes(listed.get(key), tables.log.get(key), since)),
        *(
            ("inconsistent_log_entry", key)
            for key in tables.log
            if is_inconsistent(tables.log[key], listed.get(key), key)
        ),
        *(("inconsistent_history", key) for key, entry in tables.log.items() for _ in faults(entry)),
        *(("quarantine_count_mismatch", key) for key in keys if has_wrong_quarantine(key, tables)),
        *((code, key) for key in keys for code in row_codes(key, tables)),
    ]


def listing_codes(ref: ObjectRef | None, entry: Entry | None, since: date) -> Iterator[str]:
    is_in_range = ref is not None and partition_date(ref) >= since
    is_changed = False
    if ref is not None and entry is not None and is_in_range:
        is_changed = entry.etag != ref.etag or entry.last_modified < ref.last_modified
    if ref is not None and not is_in_range:
        yield "before_start_date"
    if is_in_range and entry is None:
        yield "not_ingested"
    if is_changed and ref is not None and entry is not None:
        yield "reuploaded_unchanged" if entry.etag == ref.etag else "etag_changed"
    if entry is not None and entry.is_loaded and ref is None:
        yield "deleted_from_source"
    if entry is not None and not entry.is_loaded and not is_changed:
        yield "failed" if entry.failed_attempts < ATTEMPTS_MAX else "parked"


def is_inconsistent(entry: Entry, ref: ObjectRef | None, key: str) -> bool:
    is_consistent = entry.row_counts is None
    if entry.is_loaded and entry.row_counts is None:
        is_consistent = entry.etag is None
    elif entry.is_loaded and entry.row_counts is not None:
        has_counts = entry.failed_attempts == 0 and entry.rows_ingested == sum(entry.row_counts[:2])
        is_consistent = entry.etag is None or has_counts
    if ref is None or entry.etag != ref.etag:
        return not is_consistent
    day = partition_date(ObjectRef(key, "", entry.last_modified, 0))
    is_as_listed = entry.size_bytes == ref.size_bytes and entry.last_modified <= ref.last_modified
    return not (is_consistent and is_as_listed and entry.object_date == day)


def has_wrong_quarantine(key: str, tables: Tables) -> bool:
    entry, found = tables.log.get(key), tables.quarantined.get(key, 0)
    if entry is None:
        return found > 0
    return entry.is_loaded and found != (entry.row_counts or (0, 0, 0))[2]


def row_codes(key: str, tables: Tables) -> Iterator[str]:
    rows = {version: count for (name, version), count in tables.rows.items() if name == key}
    if (entry := tables.log.get(key)) is None:
        yield from ["orphan_rows"] if rows else []
        return
    impossible = {place for place, reason in faults(entry) if "sum" not in reason}
    earlier = {
        item.last_modified if item.etag else None
        for place, item in enumerate(entry.history)
        if item.kind != "adjustment" and place not in impossible
    }
    if rows.keys() - {entry.last_modified if entry.etag else None, *earlier}:
        yield "unknown_object_version"
    count = 0 if entry.last_modified in earlier else rows.get(entry.last_modified, 0)
    if entry.is_loaded and entry.etag and count > sum((entry.row_counts or ())[:2]):
        yield "object_row_count_exceeded"


@given(listings, tables_of_objects, st.sampled_from(DAYS))
@examples(25)
def test_audit_of_random_tables_equals_reference(
    engine: Engine, refs: list[ObjectRef], tables: Tables, since: date
) -> None:
    with engine.begin() as connection:
        history_ids = fill(connection, tables)

    findings = audit(engine, refs, since)

    found = [(finding.code.value, example.partition(": ")[0]) for finding in findings for example in finding.examples]
    assert sorted(found) == sorted(reference(refs, since, tables))
    history = [finding.examples for finding in findings if finding.code == "inconsistent_history"]
    assert sorted(sum(history, ())) == sorted(
        f"{key}: history entry {history_ids[key][place]}: {reason}"
        for key, entry in tables.log.items()
        for place, reason in faults(entry)
    )


INSERT_MANY = text("""
INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, etag, size_bytes, object_date, rows_ingested,
  rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined, rows_metadata)
SELECT to_char(n, 'FM000000'), :last_modified, :last_modified, 'e', 1, :day, 0, 0, 0, 0, 0, 0, 0, 0
FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
""")


def test_audit_memory_does_not_grow_with_objects(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "_ROWS_PER_FETCH", 500)

    def peak_bytes(objects: int) -> int:
        listing = (ObjectRef(f"{number:06}", "e", NOON, 1) for number in range(objects))
        tracemalloc.start()
        assert audit(engine, listing, DAY) == []
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    parameters = {"last_modified": NOON, "day": DAY}
    with engine.begin() as connection:
        connection.execute(INSERT_MANY, {**parameters, "first": 0, "last": 999})
    small = peak_bytes(1_000)
    with engine.begin() as connection:
        connection.execute(INSERT_MANY, {**parameters, "first": 1_000, "last": 3_999})

    assert peak_bytes(4_000) < 1.2 * small


def test_audit_with_failing_listing_leaves_no_session(engine: Engine) -> None:
    def listing() -> Iterator[ObjectRef]:
        yield ObjectRef("000000", "e", NOON, 1)
        raise SourceUnavailableError("LIST s3://bucket/: timeout")

    with engine.begin() as connection:
        connection.execute(INSERT_MANY, {"last_modified": NOON, "day": DAY, "first": 0, "last": 2_999})

    with pytest.raises(SourceUnavailableError, match="LIST"):
        audit(engine, listing(), DAY)

    assert_no_open_sessions(engine)
    assert len(audit(engine, [], DAY)) == 1
