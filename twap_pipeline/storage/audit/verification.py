"""Temporary tables that hide the real ones: objects are loaded once more beside them, and the rows compared.

In such a session ``twap_status`` and ``twap_status_quarantine`` are empty tables of its own, since PostgreSQL looks for
temporary tables first. So the very code that loads an object (`twap_status.load_rows`, which writes these two and no
other) says what the tables ought to hold, and rule V9 is stated nowhere twice.

Here belong the session and the comparison. Which objects are read is `ingest.deep_audit`'s; mending is `mending`'s.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from twap_pipeline.domain.status import CONTENT_COLUMNS, KEY_COLUMNS

Version = tuple[str, datetime]
"""An object's key and LastModified: what a row says of where it comes from."""

_KEY = ", ".join(KEY_COLUMNS)
_COMPARED = (*CONTENT_COLUMNS, "s3_object_key", "s3_last_modified")
_HIDDEN = {"twap_status": _KEY, "twap_status_quarantine": "s3_object_key, row_number"}
_VERSIONS = ("read_versions", "failed_versions", "known_versions", "known_now")


@dataclass(frozen=True, slots=True)
class RowMismatch:
    """Rows of one object that are not what the objects say.

    Args:
        kind: ``missing``, ``changed`` or ``added``.
        key: The object that holds the rows; of added ones, the object that they name.
        count: How many.
        example: One of them, with the columns that differ.
    """

    kind: str
    key: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class ExpectedCounts:
    """What a reading of an object fixes of its ledger entry, whatever order the objects came in."""

    rows_read: int | None
    rows_quarantined: int | None
    rows_metadata: int | None
    data_warnings: Mapping[str, int]


@contextmanager
def verification_session(engine: Engine) -> Iterator[Connection]:
    """Yield a session in which both tables are its own and empty, and ``real_…`` are views on the hidden ones."""
    with engine.connect() as connection:
        with connection.begin():
            for table, key in _HIDDEN.items():
                statement = (
                    "SELECT quote_ident(relnamespace::regnamespace::text) FROM pg_class WHERE oid = :name ::regclass"
                )
                schema = connection.execute(text(statement), {"name": table}).scalar_one()
                connection.execute(text(f"CREATE TEMP VIEW real_{table} AS SELECT * FROM {schema}.{table}"))  # noqa: S608 - the catalogue's name
                connection.execute(
                    text(f"CREATE TEMP TABLE {table} (LIKE {schema}.{table} INCLUDING DEFAULTS, PRIMARY KEY ({key}))")
                )
            for table in _VERSIONS:
                connection.execute(
                    text(f"CREATE TEMP TABLE {table} (s3_object_key TEXT, s3_last_modified TIMESTAMPTZ)")
                )
        try:
            yield connection
        finally:
            connection.invalidate()  # the session goes with its tables, and never back into a pool


# Below, every name is this package's own constant.
_KNOWN = """
SELECT s3_object_key, CASE WHEN etag IS NOT NULL THEN last_modified END FROM etl_s3_ingest_log
UNION
SELECT s3_object_key, CASE WHEN version ->> 'etag' IS NOT NULL THEN (version ->> 'last_modified')::timestamptz END
FROM etl_s3_ingest_log, jsonb_array_elements(previous_versions) AS version WHERE version ? 'last_modified'
"""
"""Versions that a row can name: an object's present one and its earlier ones; rows from before revision 002 none."""


_SAME_SECOND = """
SELECT FROM etl_s3_ingest_log AS log, jsonb_array_elements(previous_versions) AS version
WHERE log.s3_object_key = stored.s3_object_key AND log.last_modified = stored.s3_last_modified
  AND (version ->> 'last_modified')::timestamptz = log.last_modified AND version ->> 'etag' <> log.etag
"""
"""Versions of an object that replaced each other within one tick of the store's clock: their rows look alike."""


def _names(row: str, versions: str) -> str:
    return (
        f"EXISTS (SELECT FROM {versions} AS one WHERE one.s3_object_key = {row}.s3_object_key"  # noqa: S608
        f" AND one.s3_last_modified IS NOT DISTINCT FROM {row}.s3_last_modified)"
    )


def seed_unverifiable_rows(connection: Connection, read: Iterable[Version]) -> None:
    """Begin with the rows that no reading can prove: of gone objects and of earlier versions.

    They hold their places by rule V9 against what is loaded after them.

    Args:
        connection: From `verification_session`.
        read: The versions that will be read.
    """
    with connection.begin():
        record_versions(connection, "read_versions", read)
        connection.execute(text(f"INSERT INTO known_versions {_KNOWN}"))
        connection.execute(
            text(
                "INSERT INTO twap_status SELECT * FROM stored_twap_status AS stored"  # noqa: S608
                f" WHERE {_names('stored', 'known_versions')}"
                f" AND (NOT {_names('stored', 'read_versions')} OR EXISTS ({_SAME_SECOND}))"
            )
        )


def record_versions(connection: Connection, table: str, versions: Iterable[Version]) -> None:
    """Remember versions in ``read_versions`` or ``failed_versions``."""
    rows = [{"key": key, "at": last_modified} for key, last_modified in versions]
    if rows:
        connection.execute(text(f"INSERT INTO {table} VALUES (:key, :at)"), rows)  # noqa: S608


def _text_of(row: str) -> str:
    return f"({', '.join(f'{row}.{name}::text' for name in _COMPARED)})"


_DIFFERING = "concat_ws(', ', {})".format(
    ", ".join(
        f"CASE WHEN stored.{name}::text IS DISTINCT FROM expected.{name}::text THEN '{name}' END" for name in _COMPARED
    )
)

# Rows of an object that could not be read, or that was loaded while the others were read, prove nothing.
_WRONG_ROWS = f"""
CREATE TEMP TABLE row_mismatches ON COMMIT DROP AS
SELECT {_KEY}, CASE WHEN stored.s3_object_key IS NULL THEN 'missing' WHEN expected.s3_object_key IS NULL THEN 'added'
  ELSE 'changed' END AS kind, coalesce(expected.s3_object_key, stored.s3_object_key) AS s3_object_key,
  CASE WHEN stored.s3_object_key IS NOT NULL AND expected.s3_object_key IS NOT NULL THEN {_DIFFERING} END AS differing
FROM stored_twap_status AS stored FULL JOIN twap_status AS expected USING ({_KEY})
WHERE {_text_of("stored")} IS DISTINCT FROM {_text_of("expected")} AND NOT {_names("stored", "failed_versions")}
  AND NOT ({_names("stored", "known_now")} AND NOT {_names("stored", "known_versions")})
"""  # noqa: S608

_BY_OBJECT = """
SELECT kind, s3_object_key, count(*), min(concat('order ', twap_id, ' at ', ts, ': ' || differing))
FROM row_mismatches GROUP BY 1, 2 ORDER BY 1, 2
"""

_PROVED = f"""
CREATE TEMP TABLE proved ON COMMIT DROP AS
SELECT log.s3_object_key FROM etl_s3_ingest_log AS log JOIN read_versions AS read
  ON read.s3_object_key = log.s3_object_key AND read.s3_last_modified = log.last_modified
WHERE log.error_text IS NULL AND NOT {_names("read", "failed_versions")}
"""  # noqa: S608

_QUARANTINE = """
SELECT s3_object_key, count(*)
FROM stored_twap_status_quarantine AS stored FULL JOIN twap_status_quarantine AS expected USING (s3_object_key, row_number)
WHERE (stored.reason, stored.raw_row::text) IS DISTINCT FROM (expected.reason, expected.raw_row::text)
  AND (s3_object_key IN (SELECT s3_object_key FROM proved)
    OR s3_object_key NOT IN (SELECT s3_object_key FROM etl_s3_ingest_log))
GROUP BY 1 ORDER BY 1
"""


def compare(connection: Connection) -> list[RowMismatch]:
    """Compare the rows, in a transaction that the caller holds; what is wrong stays in ``row_mismatches`` until its end."""
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    connection.execute(text(f"INSERT INTO known_now {_KNOWN}"))
    for table in (*_HIDDEN, *_VERSIONS):
        connection.execute(text(f"ANALYZE {table}"))
    connection.execute(text(_WRONG_ROWS))
    connection.execute(text(_PROVED))
    return [
        RowMismatch(kind, key, count, example) for kind, key, count, example in connection.execute(text(_BY_OBJECT))
    ]


def compare_quarantine(connection: Connection) -> dict[str, int]:
    """Return object → quarantined rows that are not what it says, or that name no object of the ledger."""
    return {str(key): int(count) for key, count in connection.execute(text(_QUARANTINE))}


def verified_counts(connection: Connection) -> dict[str, ExpectedCounts]:
    """Return what the ledger says of the objects that were read whole, by key."""
    statement = (
        "SELECT s3_object_key, rows_read, rows_quarantined, rows_metadata, data_warnings"
        " FROM etl_s3_ingest_log JOIN proved USING (s3_object_key)"
    )
    return {
        key: ExpectedCounts(read, quarantined, metadata_rows, data_warnings or {})
        for key, read, quarantined, metadata_rows, data_warnings in connection.execute(text(statement))
    }


def count_unverifiable(connection: Connection) -> int:
    """Return the rows that no object could prove."""
    of_no_reading = f"NOT {_names('stored', 'read_versions')} OR {_names('stored', 'failed_versions')}"
    statement = f"SELECT count(*) FROM stored_twap_status AS stored WHERE {of_no_reading}"  # noqa: S608
    return int(connection.execute(text(statement)).scalar_one())
