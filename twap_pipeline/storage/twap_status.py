"""An object's rows into ``twap_status``, under rule V9, and the count of fates.

Of several events with one (twap_id, wallet, ts) one wins, whatever the order, repetition or concurrency of loading:
the higher place in the order's life, then the newer object (LastModified, then key), then the later row.

The fast way is COPY straight into the table; PostgreSQL's own unique check tells when an event is there already, and
then the object goes through a staging table: see `merging`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC

import polars as pl
import psycopg
from psycopg import sql
from sqlalchemy import Connection

from twap_pipeline.domain.normalize import Normalized
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.quality import Fates
from twap_pipeline.domain.twap_status import KEY_COLUMNS, ROW_COLUMNS
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.storage.copy_text import copy_text
from twap_pipeline.storage.merging import COPIED_COLUMNS, MAKE_STAGING_TABLE, STAGING_TABLE, merge_staged, renew_claims

REJECTED_ROWS_MAX = 100_000
"""An object with more unreadable rows than this is refused as a whole: it is not this feed."""

_PLAIN = ("twap_id", "wallet", "size_requested", "size_executed", "notional_executed", "s3_last_modified")


@dataclass(frozen=True, slots=True)
class Block:
    """A portion of an object's rows, ready to be written.

    Args:
        text: The canonical rows as COPY text, columns `COPIED_COLUMNS`, sorted by key so that two loaders meet in one
            order; equal keys in the object's order.
        rows: Their number.
        rejected: Rows that could not be read.
        bookkeeping: Number of the vendor's bookkeeping rows.
    """

    text: bytes
    rows: int
    rejected: pl.DataFrame
    bookkeeping: int


def as_block(ref: ObjectRef, portion: Normalized) -> Block:
    """Return a portion of an object's rows, ready to be written."""
    full = portion.rows.sort(*KEY_COLUMNS, maintain_order=True).select(
        *ROW_COLUMNS,
        s3_object_key=pl.lit(ref.key),
        s3_last_modified=pl.lit(f"{ref.last_modified.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"),
    )
    text = copy_text(full, plain=_PLAIN, json=("raw_payload",))
    return Block(text, portion.rows.height, portion.rejected, portion.bookkeeping)


Blocks = Callable[[], Iterable[Block]]


def load_rows(connection: Connection, ref: ObjectRef, blocks: Blocks, *, seen_before: bool) -> Fates:
    """Write an object's rows within the caller's transaction and return what became of them.

    Args:
        connection: In a transaction; nothing is committed here.
        ref: The object.
        blocks: Gives the object's rows from the start, each time it is called.
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
            fates = None if seen_before else _insert_new(cursor, intake, blocks)
            if fates is None:
                cursor.execute(MAKE_STAGING_TABLE)
                intake.copy(cursor, STAGING_TABLE, blocks())
                fates = merge_staged(cursor, intake.rows)
                if seen_before:
                    renew_claims(cursor)
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

    def copy(self, cursor: "psycopg.Cursor[tuple[object, ...]]", table: str, blocks: Iterable[Block]) -> None:
        """Stream every block's rows into the table."""
        self.rejected, self.bookkeeping, self.rows = [], 0, 0
        columns = sql.SQL(", ").join(map(sql.Identifier, COPIED_COLUMNS))
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)) as copy:
            for block in blocks:
                self.bookkeeping += block.bookkeeping
                self._keep_rejected(block.rejected)
                self.rows += block.rows
                if block.rows:
                    copy.write(block.text)
                    failpoint("mid-copy")

    def _keep_rejected(self, rejected: pl.DataFrame) -> None:
        if rejected.height:
            self.rejected.append(rejected)
        if (count := sum(map(len, self.rejected))) > REJECTED_ROWS_MAX:
            example = rejected["reason"][0]
            raise ObjectInvalidError(self._ref.key, f"more than {count - 1} rows cannot be read; the last: {example}")


def _insert_new(cursor: "psycopg.Cursor[tuple[object, ...]]", intake: _Intake, blocks: Blocks) -> Fates | None:
    """COPY straight into the table; None, and nothing written, where an event is there already or comes twice."""
    try:
        with cursor.connection.transaction():
            intake.copy(cursor, "twap_status", blocks())
    except psycopg.errors.UniqueViolation:
        return None
    return Fates(inserted=intake.rows)


def _replace_rejected(
    cursor: "psycopg.Cursor[tuple[object, ...]]", ref: ObjectRef, rejected: list[pl.DataFrame]
) -> None:
    cursor.execute("DELETE FROM twap_status_rejected WHERE s3_object_key = %s", (ref.key,))
    if rejected:
        frame = pl.concat(rejected).with_columns(pl.lit(ref.key).alias("s3_object_key"))
        columns = ("s3_object_key", "row_number", "raw_row", "reason")
        with cursor.copy(f"COPY twap_status_rejected ({', '.join(columns)}) FROM STDIN") as copy:
            copy.write(copy_text(frame.select(columns), json=("raw_row",)))
