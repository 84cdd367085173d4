"""Which events of a block are stored already, by key, and which stored rows give way to them under rule V9.

For events of an object of which nothing is stored yet, key and status decide that; the rest of a row need not reach
the server. What gives way is deleted, so that its successor can be copied straight into the table.
"""

from dataclasses import dataclass

import polars as pl
import psycopg

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.status import KEY_COLUMNS
from twap_pipeline.storage.loading.copy_text import copy_text
from twap_pipeline.storage.loading.merge import STORED, precedence_sql

EVENT_COLUMNS = (*KEY_COLUMNS, "status")


@dataclass(frozen=True, slots=True)
class Found:
    """Places of a block's events.

    Args:
        new: No such event is stored.
        replacing: The stored row gives way.
    """

    new: frozenset[int]
    replacing: frozenset[int]


def look_up(cursor: "psycopg.Cursor[tuple[object, ...]]", ref: ObjectRef, events: pl.DataFrame) -> Found:
    """Return what is stored of a block's events.

    Args:
        cursor: In a transaction, `MAKE_LOOKUP_TABLES` run and the tables empty.
        ref: Their object.
        events: `EVENT_COLUMNS`; no event twice.
    """
    with cursor.copy(f"COPY twap_status_sought ({', '.join(EVENT_COLUMNS)}) FROM STDIN".encode()) as copy:
        copy.write(copy_text(events))
    cursor.execute(_LOOK_UP.encode(), {"key": ref.key, "modified": ref.last_modified})
    found = dict[bool, frozenset[int]]()
    for is_new, places in cursor.execute(_FOUND):
        found[bool(is_new)] = frozenset(places) if isinstance(places, list) else frozenset()
    return Found(found.get(True, frozenset()), found.get(False, frozenset()))


def make_room(cursor: "psycopg.Cursor[tuple[object, ...]]") -> int:
    """Delete the rows that `look_up` found to give way, and return how many of them still did."""
    return cursor.execute(_MAKE_ROOM.encode()).rowcount


MAKE_LOOKUP_TABLES = """
CREATE TEMP TABLE twap_status_sought
  (twap_id TEXT, wallet TEXT, ts TIMESTAMPTZ, status TEXT, place BIGINT GENERATED ALWAYS AS IDENTITY (MINVALUE 0))
  ON COMMIT DROP;
CREATE TEMP TABLE twap_status_found (place BIGINT, stored_at TID) ON COMMIT DROP
"""
"""End with the transaction."""

EMPTY_LOOKUP_TABLES = "TRUNCATE twap_status_sought, twap_status_found RESTART IDENTITY"
"""For the next block."""

# Names come from this package's own constants.
_LOOK_UP = f"""
INSERT INTO twap_status_found
SELECT place, stored.ctid
FROM (SELECT *, %(key)s AS s3_object_key, %(modified)s ::timestamptz AS s3_last_modified FROM twap_status_sought)
  AS staged LEFT JOIN {STORED} ON TRUE
WHERE stored.ctid IS NULL
  OR stored.s3_object_key <> staged.s3_object_key AND {precedence_sql("staged")} >= {precedence_sql("stored")}
"""  # noqa: S608

_FOUND = "SELECT stored_at IS NULL, array_agg(place) FROM twap_status_found GROUP BY 1"

# A row that another loader replaced meanwhile is no longer where it was found: IN is asked anew of its successor.
_MAKE_ROOM = """
DELETE FROM twap_status WHERE ctid = ANY (ARRAY(SELECT stored_at FROM twap_status_found WHERE stored_at IS NOT NULL))
AND ctid IN (SELECT stored_at FROM twap_status_found)
"""
