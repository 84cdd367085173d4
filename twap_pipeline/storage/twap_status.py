"""An object's rows into ``twap_status``: the merge, under rule V9, and the count of fates.

Of several events with one (twap_id, wallet, ts) one wins, whatever the order, repetition or concurrency of loading:
the higher place in the order's life, then the newer object (LastModified, then key), then the later row.

The fast way is COPY straight into the table; PostgreSQL's own unique check tells when an event is there already, and
then the object goes through a staging table and one INSERT … ON CONFLICT.
"""

from collections.abc import Callable, Iterable, Iterator

import polars as pl
import psycopg
from psycopg import sql
from sqlalchemy import Connection

from twap_pipeline.domain.normalize import Normalized
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.quality import Fates
from twap_pipeline.domain.twap_status import (
    CONTENT_COLUMNS,
    KEY_COLUMNS,
    ROW_COLUMNS,
)
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.storage.copy_text import copy_text
from twap_pipeline.storage.lifecycle import rank_sql

REJECTED_ROWS_MAX = 100_000
"""An object with more unreadable rows than this is refused as a whole: it is not this feed."""

_PLAIN = ("twap_id", "wallet", "size_requested", "size_executed", "notional_executed")
COPIED_COLUMNS: tuple[str, ...] = (*ROW_COLUMNS, "s3_object_key", "s3_last_modified")
"""Columns that a load writes; ``inserted_at`` is the server's."""

Portions = Callable[[], Iterable[Normalized]]


def load_rows(connection: Connection, ref: ObjectRef, portions: Portions, *, seen_before: bool) -> Fates:
    """Write an object's rows within the caller's transaction and return what became of them.

    Args:
        connection: In a transaction; nothing is committed here.
        ref: The object.
        portions: Gives the object's normalized rows from the start, each time it is called.
        seen_before: Whether a version of this object was loaded already, so that its events are probably there.

    Raises:
        ObjectInvalidError: More than `REJECTED_ROWS_MAX` rows cannot be read, or PostgreSQL refuses a value.
    """
    raw_connection = connection.connection.driver_connection
    if not isinstance(raw_connection, psycopg.Connection):
        raise TypeError("rows are loaded through psycopg 3 (postgresql+psycopg)")
    intake = _Intake(ref)
    try:
        with raw_connection.cursor() as cursor:
            fates = None if seen_before else _insert_new(cursor, intake, portions)
            if fates is None:
                fates = _merge(cursor, intake, portions)
            _replace_rejected(cursor, ref, intake.rejected)
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
        raise ObjectInvalidError(
            ref.key, f"PostgreSQL cannot hold one of its rows: {error.diag.message_primary}"
        ) from error
    return fates + Fates(quarantined=sum(map(len, intake.rejected)), bookkeeping=intake.bookkeeping)


class _Intake:
    """Rows on their way into a COPY; counts what does not go there."""

    def __init__(self, ref: ObjectRef) -> None:
        self._ref = ref
        self.rejected: list[pl.DataFrame] = []
        self.bookkeeping = 0
        self.rows = 0

    def copy(
        self,
        cursor: "psycopg.Cursor[tuple[object, ...]]",
        table: str,
        columns: tuple[str, ...],
        portions: Iterable[Normalized],
    ) -> None:
        """Stream every portion's rows into the table, sorted by key within a portion."""
        self.rejected, self.bookkeeping, self.rows = [], 0, 0
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with cursor.copy(statement) as copy:
            for portion in portions:
                self.bookkeeping += portion.bookkeeping
                self._keep_rejected(portion.rejected)
                self.rows += portion.rows.height
                if portion.rows.height:
                    copy.write(rows_as_copy_text(self._ref, portion.rows, columns))
                    failpoint("mid-copy")

    def _keep_rejected(self, rejected: pl.DataFrame) -> None:
        if rejected.height:
            self.rejected.append(rejected)
        if (count := sum(map(len, self.rejected))) > REJECTED_ROWS_MAX:
            example = rejected["reason"][0]
            raise ObjectInvalidError(self._ref.key, f"more than {count - 1} rows cannot be read; the last: {example}")


def rows_as_copy_text(ref: ObjectRef, rows: pl.DataFrame, columns: tuple[str, ...]) -> bytes:
    """Return an object's canonical rows as COPY text, sorted by key so that two loaders meet in one order."""
    full = rows.sort(*KEY_COLUMNS).with_columns(
        pl.lit(ref.key).alias("s3_object_key"),
        pl.lit(ref.last_modified).cast(pl.Datetime("us", "UTC")).alias("s3_last_modified"),
    )
    return copy_text(full.select(columns), plain=_PLAIN, json=("raw_payload",))


def _insert_new(cursor: "psycopg.Cursor[tuple[object, ...]]", intake: _Intake, portions: Portions) -> Fates | None:
    """COPY straight into the table; None, and nothing written, where an event is there already or comes twice."""
    try:
        with cursor.connection.transaction():
            intake.copy(cursor, "twap_status", COPIED_COLUMNS, portions())
    except psycopg.errors.UniqueViolation:
        return None
    return Fates(inserted=intake.rows)


def _merge(cursor: "psycopg.Cursor[tuple[object, ...]]", intake: _Intake, portions: Portions) -> Fates:
    cursor.execute(
        "CREATE TEMP TABLE twap_status_staging (LIKE twap_status, row_number BIGINT) ON COMMIT DROP;"
        "ALTER TABLE twap_status_staging ALTER inserted_at DROP NOT NULL"
    )
    intake.copy(cursor, "twap_status_staging", (*COPIED_COLUMNS, "row_number"), portions())
    cursor.execute("ANALYZE twap_status_staging")
    inserted, updated = _counts(cursor.execute(_MERGE))
    (held,) = _counts(cursor.execute(_HELD))
    return Fates(inserted, updated, unchanged=held - inserted - updated, superseded=intake.rows - held)


def _counts(cursor: "psycopg.Cursor[tuple[object, ...]]") -> Iterator[int]:
    row = cursor.fetchone()
    if row is None:
        raise TypeError("a count gave no row")
    return (int(str(value)) for value in row)


def _replace_rejected(
    cursor: "psycopg.Cursor[tuple[object, ...]]", ref: ObjectRef, rejected: list[pl.DataFrame]
) -> None:
    cursor.execute("DELETE FROM twap_status_rejected WHERE s3_object_key = %s", (ref.key,))
    if rejected:
        frame = pl.concat(rejected).with_columns(pl.lit(ref.key).alias("s3_object_key"))
        columns = ("s3_object_key", "row_number", "raw_row", "reason")
        with cursor.copy(f"COPY twap_status_rejected ({', '.join(columns)}) FROM STDIN") as copy:
            copy.write(copy_text(frame.select(columns), json=("raw_row",)))


def _content(table: str) -> str:
    columns = (f"{table}.{name}" + ("::text" if name == "raw_payload" else "") for name in CONTENT_COLUMNS)
    return f"({', '.join(columns)})"


def _claim(row: str) -> str:
    """How strongly a row claims its place. Keys compare by bytes, not by the database's language."""
    modified = f"coalesce({row}.s3_last_modified, '-infinity')"
    return f'({rank_sql(f"{row}.status")}, {modified}, {row}.s3_object_key COLLATE "C")'


_KEY = ", ".join(KEY_COLUMNS)
_SAME_KEY = " AND ".join(f"stored.{name} = staged.{name}" for name in KEY_COLUMNS)
_REPLACED = (*CONTENT_COLUMNS, "s3_object_key", "s3_last_modified", "inserted_at")

# Names come from this package's own constants. A row that loses is still locked by ON CONFLICT, so that the
# comparison below sees the same stored row.
_MERGE = f"""
WITH winner AS (
  SELECT DISTINCT ON ({_KEY}) {", ".join(COPIED_COLUMNS)} FROM twap_status_staging
  ORDER BY {_KEY}, {rank_sql("status")} DESC, row_number DESC
), merged AS (
  INSERT INTO twap_status AS stored ({", ".join(COPIED_COLUMNS)}) SELECT * FROM winner ORDER BY {_KEY}
  ON CONFLICT ({_KEY}) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _REPLACED)}
  WHERE {_claim("excluded")} >= {_claim("stored")}
    AND (stored.s3_object_key <> excluded.s3_object_key OR {_content("stored")} IS DISTINCT FROM {_content("excluded")})
  RETURNING xmax = 0 AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged
"""  # noqa: S608

_HELD = f"""
SELECT count(*) FROM twap_status_staging AS staged JOIN twap_status AS stored ON {_SAME_KEY}
WHERE {_content("stored")} IS NOT DISTINCT FROM {_content("staged")}
"""  # noqa: S608
