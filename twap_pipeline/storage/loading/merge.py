"""Events that may be stored already: block by block from a staging table into ``twap_status``, under rule V9.

Rows whose stored event stays as it is cost a look: no lock, no new tuple; unless a newer version of the very object
that holds it says it again, which makes its claim the newer one. Here belong the statements; which blocks come here is
`twap_status`'s.
"""

import psycopg

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.domain.status import CONTENT_COLUMNS, KEY_COLUMNS, ROW_COLUMNS
from twap_pipeline.storage.status_sql import rank_sql

COPIED_COLUMNS: tuple[str, ...] = (*ROW_COLUMNS, "s3_object_key", "s3_last_modified")
"""Columns that a load writes; ``inserted_at`` is the server's."""

STAGING_TABLE = "twap_status_staging"


def merge_staged(cursor: "psycopg.Cursor[tuple[object, ...]]", *, rows: int, has_duplicates: bool) -> RowCounts:
    """Write what the staging table holds and return what became of it.

    Args:
        cursor: In the transaction that made and filled `STAGING_TABLE`.
        rows: How many rows it holds.
        has_duplicates: Whether several of them are of one event.
    """
    cursor.execute(_OPEN)
    opened, due, special = _counts(cursor, _COUNT_OPEN)
    if not due:
        return RowCounts(unchanged=rows - opened, superseded=opened)
    if has_duplicates:
        cursor.execute(_OPEN_REPEATED)
        opened, due, special = _counts(cursor, _COUNT_OPEN)
    renewed, own = _counts(cursor, _COUNT_WINNERS) if special else (0, 0)
    inserted, updated = _counts(cursor, _MERGE)
    held = inserted + updated
    if held < due:
        (held,) = _counts(cursor, _HELD)
    unchanged = rows - opened + held - inserted - updated + renewed
    updated -= renewed + own
    return RowCounts(inserted, updated, unchanged, superseded=rows - inserted - updated - unchanged)


def _counts(cursor: "psycopg.Cursor[tuple[object, ...]]", question: str) -> tuple[int, ...]:
    row = cursor.execute(question.encode()).fetchone()
    if row is None:
        raise TypeError("a count gave no row")
    return tuple(int(str(value)) for value in row)


def _content(table: str) -> str:
    columns = (f"{table}.{name}" + ("::text" if name == "raw_payload" else "") for name in CONTENT_COLUMNS)
    return f"({', '.join(columns)})"


def precedence_sql(row: str) -> str:
    """Return how strongly a row claims its place. Keys compare by bytes, not by the database's language."""
    modified = f"coalesce({row}.s3_last_modified, '-infinity')"
    return f'({rank_sql(f"{row}.status")}, {modified}, {row}.s3_object_key COLLATE "C")'


_KEY = ", ".join(KEY_COLUMNS)
_COPIED = ", ".join(COPIED_COLUMNS)
_SAME_KEY = " AND ".join(f"stored.{name} = staged.{name}" for name in KEY_COLUMNS)
_REPLACED = (*CONTENT_COLUMNS, "s3_object_key", "s3_last_modified")


def _same_content(row: str) -> str:
    return f"{_content('stored')} IS NOT DISTINCT FROM {_content(row)}"


def _gives_way_to(row: str) -> str:
    """Return whether a stored row is to be written anew. A claim only ever grows, so that a "no" stays one."""
    return (
        f"{precedence_sql(row)} >= {precedence_sql('stored')} AND (stored.s3_object_key <> {row}.s3_object_key"
        f" OR stored.s3_last_modified IS DISTINCT FROM {row}.s3_last_modified OR NOT ({_same_content(row)}))"
    )


def _says_again(row: str) -> str:
    """Return whether a stored row only gets a newer claim: a newer version of its object holds it, just so."""
    return f"stored.s3_object_key = {row}.s3_object_key AND {_same_content(row)}"


# Names come from this package's own constants. The look into twap_status by LATERAL … LIMIT goes by its key, whatever
# the planner thinks of a table that is written just now.
STORED = f"LATERAL (SELECT *, ctid FROM twap_status AS stored WHERE {_SAME_KEY} LIMIT 1) AS stored"  # noqa: S608
"""The stored row of ``staged``'s event."""

MAKE_STAGING_TABLES = """
CREATE TEMP TABLE twap_status_staging (LIKE twap_status, row_number BIGINT GENERATED ALWAYS AS IDENTITY) ON COMMIT DROP;
ALTER TABLE twap_status_staging ALTER inserted_at DROP NOT NULL, ALTER raw_payload TYPE TEXT;
CREATE TEMP TABLE twap_status_open (row_number BIGINT, is_due BOOLEAN, is_again BOOLEAN, is_own BOOLEAN) ON COMMIT DROP
"""
"""Ends with the transaction. It numbers its rows as they come; the payload is checked to be JSON where it is stored."""

EMPTY_STAGING_TABLES = "TRUNCATE twap_status_staging, twap_status_open"
"""For the next block."""

# All rows but those that are stored already, just so. Due: there is no such event yet, or the stored one gives way.
# Again: only its claim does. Own: it came from this very object, earlier in this transaction.
_OPEN = f"""
INSERT INTO twap_status_open
SELECT staged.row_number, is_due, is_due AND {_says_again("staged")},
  is_due AND stored.s3_object_key = staged.s3_object_key AND stored.inserted_at = now()
FROM twap_status_staging AS staged LEFT JOIN {STORED} ON TRUE,
  LATERAL (SELECT stored.twap_id IS NULL OR ({_gives_way_to("staged")}) AS is_due) AS claimed
WHERE is_due OR NOT ({_same_content("staged")})
"""  # noqa: S608

_COUNT_OPEN = """
SELECT count(*), count(*) FILTER (WHERE is_due), count(*) FILTER (WHERE is_again OR is_own) FROM twap_status_open
"""

# Of an object's own rows of one event the winner must be known: all of them take part.
_OPEN_REPEATED = f"""
WITH counted AS (
  SELECT row_number, count(*) OVER (PARTITION BY {_KEY}) AS rows FROM twap_status_staging
), rivals AS (SELECT row_number FROM counted WHERE rows > 1), known AS (
  UPDATE twap_status_open AS open SET is_due = TRUE FROM rivals WHERE open.row_number = rivals.row_number
)
INSERT INTO twap_status_open
SELECT row_number, TRUE, FALSE, FALSE FROM rivals WHERE row_number NOT IN (SELECT row_number FROM twap_status_open)
"""  # noqa: S608

_DUE = "twap_status_staging JOIN twap_status_open USING (row_number) WHERE is_due"
_THE_LAST_FIRST = f"ORDER BY {_KEY}, {rank_sql('status')} DESC, row_number DESC"

_COUNT_WINNERS = f"""
SELECT count(*) FILTER (WHERE is_again), count(*) FILTER (WHERE is_own)
FROM (SELECT DISTINCT ON ({_KEY}) is_again, is_own FROM {_DUE} {_THE_LAST_FIRST}) AS winner
"""  # noqa: S608

# A row that loses here after all, to another loader, is locked by ON CONFLICT: the count below sees what it saw.
_MERGE = f"""
WITH winner AS (
  SELECT DISTINCT ON ({_KEY}) {_COPIED.replace("raw_payload", "raw_payload::json")} FROM {_DUE} {_THE_LAST_FIRST}
), merged AS (
  INSERT INTO twap_status AS stored ({_COPIED}) SELECT * FROM winner ORDER BY {_KEY}
  ON CONFLICT ({_KEY}) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _REPLACED)},
    inserted_at = CASE WHEN {_says_again("excluded")} THEN stored.inserted_at ELSE excluded.inserted_at END
  WHERE {_gives_way_to("excluded")}
  RETURNING xmax = 0 AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged
"""  # noqa: S608

_HELD = f"""
SELECT count(*) FROM (SELECT * FROM {_DUE}) AS staged CROSS JOIN {STORED} WHERE {_same_content("staged")}
"""  # noqa: S608
