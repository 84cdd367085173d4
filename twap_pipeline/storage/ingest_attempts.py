"""Marks of the objects that are being read: the table ``etl_s3_ingest_attempts``.

A mark is committed before an object is fetched and deleted with the result of its load. A mark that remains means that
a process ended while it read the object: it was killed, lacked memory, or crashed in a library. Which objects are
marked and what follows from a mark is decided in ``ingest.attempts``.
"""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, text

from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries("twap_pipeline.storage", "ingest_attempts.sql")


def begin_attempts(
    connection: Connection, data_set: DataSet, refs: Sequence[ObjectRef], *, is_alone: bool = False
) -> None:
    """Mark objects as being read, with one statement; ``is_alone``: the process reads no other object."""
    parameters = {
        "data_set": data_set.name,
        "keys": [ref.key for ref in refs],
        "etags": [ref.etag for ref in refs],
        "sizes": [ref.size_bytes for ref in refs],
        "is_alone": is_alone,
    }
    connection.execute(text(_QUERIES["begin"]), parameters)


def find_attempts(connection: Connection, data_set: DataSet, refs: Iterable[ObjectRef]) -> dict[str, bool]:
    """Return key → whether it was read alone, of the objects that are marked in this version."""
    etags = {ref.key: ref.etag for ref in refs}
    rows = connection.execute(text(_QUERIES["find"]), {"data_set": data_set.name, "keys": list(etags)})
    return {row.s3_object_key: row.is_alone for row in rows if row.etag == etags[row.s3_object_key]}


def remove_attempts(connection: Connection, data_set: DataSet, keys: Collection[str]) -> None:
    """Delete the marks of these objects."""
    connection.execute(text(_QUERIES["remove"]), {"data_set": data_set.name, "keys": list(keys)})
