"""A checksum of the content of ``twap_status``."""

from sqlalchemy import Connection, text

from twap_pipeline.storage.sql_files import load_queries


def content_checksum(connection: Connection) -> str:
    """Return a checksum of every event's key and content columns (32 hex digits).

    It does not depend on the order of the rows, on the objects that they came from, or on the time of writing.
    """
    query = load_queries("twap_pipeline.storage.audit", "checksum.sql")["content_checksum"]
    return str(connection.execute(text(query)).scalar_one())
