"""A checksum of the content of ``twap_status``."""

from sqlalchemy import Connection

from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.storage.data_set_sql import column_list, execute
from twap_pipeline.storage.sql_files import load_queries

_TIME = "extract(epoch FROM {column})"
"""Form of a time that does not depend on the time zone of the session."""


def content_checksum(connection: Connection) -> str:
    """Return a checksum of every event's key and content columns (32 hex digits).

    It does not depend on the order of the rows, on the objects that they came from, or on the time of writing.
    """
    query = load_queries("twap_pipeline.storage.audit", "checksum.sql")["content_checksum"]
    values = column_list(TWAP_STATUS.row_columns, "{column}::text", {"ts": _TIME, "started_at": _TIME})
    return str(execute(connection, query, TWAP_STATUS, values=values).scalar_one())
