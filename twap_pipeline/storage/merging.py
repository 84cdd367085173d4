"""Events that may be stored already: from a staging table into ``twap_status``, under rule V9.

Rows whose stored event stays as it is cost a look: no lock, no new tuple; unless a newer version of the very object
that holds it says it again, which makes its claim the newer one. Here belong the statements; the order in
which rows come to the staging table is `twap_status`'s.
"""

from collections.abc import Iterator

import psycopg

from twap_pipeline.domain.quality import Fates
from twap_pipeline.domain.twap_status import CONTENT_COLUMNS, KEY_COLUMNS, ROW_COLUMNS
from twap_pipeline.storage.lifecycle import rank_sql

COPIED_COLUMNS: tuple[str, ...] = (*ROW_COLUMNS, "s3_object_key", "s3_last_modified")
"""Columns that a load writes; ``inserted_at`` is the server's."""

STAGING_TABLE = "twap_status_staging"


def merge_staged(cursor: "psycopg.Cursor[tuple[object, ...]]", rows: int) -> Fates:
    """Write what the staging table holds and return what became of it.

    Args:
        cursor: In the transaction that made and filled `STAGING_TABLE`.
        rows: How many rows it holds.
    """
    cursor.execute(f"ANALYZE twap_status_staging ({_KEY})")
    cursor.execute(_OPEN)
    opened, due = _counts(cursor.execute(_COUNT_OPEN))
    if not due:
        return Fates(unchanged=rows - opened, superseded=opened)
    repeated = cursor.execute(_REPEATED).rowcount
    if repeated:
        cursor.execute(_OPEN_REPEATED)
        opened, due = _counts(cursor.execute(_COUNT_OPEN))
    cursor.execute("ANALYZE twap_status_open")
    inserted, updated = _counts(cursor.execute(_MERGE))
    held = inserted + updated
    if held < due:
        (held,) = _counts(cursor.execute(_HELD))
    unchanged = rows - opened + held - inserted - updated
    return Fates(inserted, updated, unchanged, superseded=rows - inserted - updated - unchanged)


def renew_claims(cursor: "psycopg.Cursor[tuple[object, ...]]") -> None:
    """Let what a newer version of an object says again count as said then.

    Otherwise an object between the two versions would win or lose by the order of loading. The rows stay as they are,
    and are counted so.
    """
    cursor.execute(_RENEW)


def _counts(cursor: "psycopg.Cursor[tuple[object, ...]]") -> Iterator[int]:
    row = cursor.fetchone()
    if row is None:
        raise TypeError("a count gave no row")
    return (int(str(value)) for value in row)


def _content(table: str) -> str:
    columns = (f"{table}.{name}" + ("::text" if name == "raw_payload" else "") for name in CONTENT_COLUMNS)
    return f"({', '.join(columns)})"


def _claim(row: str) -> str:
    """How strongly a row claims its place. Keys compare by bytes, not by the database's language."""
    modified = f"coalesce({row}.s3_last_modified, '-infinity')"
    return f'({rank_sql(f"{row}.status")}, {modified}, {row}.s3_object_key COLLATE "C")'


_KEY = ", ".join(KEY_COLUMNS)
_COPIED = ", ".join(COPIED_COLUMNS)
_SAME_KEY = " AND ".join(f"stored.{name} = staged.{name}" for name in KEY_COLUMNS)
_SAME_CONTENT = f"{_content('stored')} IS NOT DISTINCT FROM {_content('staged')}"
_REPLACED = (*CONTENT_COLUMNS, "s3_object_key", "s3_last_modified", "inserted_at")


def _gives_way_to(row: str) -> str:
    """Return whether a stored row is to be replaced. A claim only ever grows, so that a "no" stays one."""
    return (
        f"{_claim(row)} >= {_claim('stored')} AND (stored.s3_object_key <> {row}.s3_object_key"
        f" OR {_content('stored')} IS DISTINCT FROM {_content(row)})"
    )


# Names come from this package's own constants.
MAKE_STAGING_TABLE = """
CREATE TEMP TABLE twap_status_staging (LIKE twap_status, row_number BIGINT GENERATED ALWAYS AS IDENTITY) ON COMMIT DROP;
ALTER TABLE twap_status_staging ALTER inserted_at DROP NOT NULL, ALTER raw_payload TYPE TEXT
"""
"""Ends with the transaction. It numbers its rows as they come; the payload is checked to be JSON where it is stored."""

# All rows but those that are stored already, just so. Due: there is no such event yet, or the stored one gives way.
_OPEN = f"""
CREATE TEMP TABLE twap_status_open ON COMMIT DROP AS
SELECT staged.row_number, stored.twap_id IS NULL OR ({_gives_way_to("staged")}) AS is_due
FROM twap_status_staging AS staged LEFT JOIN twap_status AS stored ON {_SAME_KEY}
WHERE stored.twap_id IS NULL OR NOT ({_SAME_CONTENT}) OR ({_gives_way_to("staged")})
"""  # noqa: S608

_COUNT_OPEN = "SELECT count(*), count(*) FILTER (WHERE is_due) FROM twap_status_open"

_REPEATED = f"""
CREATE TEMP TABLE twap_status_repeated ON COMMIT DROP AS
SELECT {_KEY} FROM twap_status_staging GROUP BY {_KEY} HAVING count(*) > 1
"""  # noqa: S608

# Of an object's own rows of one event the winner must be known: all of them take part.
_OPEN_REPEATED = f"""
WITH rivals AS (SELECT row_number FROM twap_status_staging JOIN twap_status_repeated USING ({_KEY})),
gone AS (DELETE FROM twap_status_open USING rivals WHERE twap_status_open.row_number = rivals.row_number)
INSERT INTO twap_status_open SELECT row_number, TRUE FROM rivals
"""  # noqa: S608

_DUE = "twap_status_staging JOIN twap_status_open USING (row_number) WHERE is_due"

# A row that loses here after all, to another loader, is locked by ON CONFLICT: the count below sees what it saw.
_MERGE = f"""
WITH winner AS (
  SELECT DISTINCT ON ({_KEY}) {_COPIED.replace("raw_payload", "raw_payload::json")} FROM {_DUE}
  ORDER BY {_KEY}, {rank_sql("status")} DESC, row_number DESC
), merged AS (
  INSERT INTO twap_status AS stored ({_COPIED}) SELECT * FROM winner ORDER BY {_KEY}
  ON CONFLICT ({_KEY}) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _REPLACED)}
  WHERE {_gives_way_to("excluded")}
  RETURNING xmax = 0 AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged
"""  # noqa: S608

_RENEW = f"""
WITH said_again AS (
  SELECT {", ".join(f"stored.{name}" for name in KEY_COLUMNS)}, staged.s3_last_modified
  FROM twap_status_staging AS staged JOIN twap_status AS stored ON {_SAME_KEY}
  WHERE stored.s3_object_key = staged.s3_object_key
    AND coalesce(stored.s3_last_modified, '-infinity') < staged.s3_last_modified AND {_SAME_CONTENT}
  ORDER BY {", ".join(f"stored.{name}" for name in KEY_COLUMNS)} FOR UPDATE OF stored
)
UPDATE twap_status AS stored SET s3_last_modified = staged.s3_last_modified FROM said_again AS staged WHERE {_SAME_KEY}
"""  # noqa: S608

_HELD = f"""
SELECT count(*) FROM (SELECT * FROM {_DUE}) AS staged JOIN twap_status AS stored ON {_SAME_KEY} WHERE {_SAME_CONTENT}
"""  # noqa: S608
