"""A checksum over the content of ``twap_status``."""

from sqlalchemy import Connection, text

from twap_pipeline.domain.status import CONTENT_COLUMNS, KEY_COLUMNS


def content_checksum(connection: Connection) -> str:
    """Return a digest of every event's key and content, the same whatever object or order they came in (32 hex)."""
    columns = ", ".join(
        f"extract(epoch FROM {name})" if name in {"ts", "started_at"} else f"{name}::text"
        for name in (*KEY_COLUMNS, *CONTENT_COLUMNS)
    )
    row = f"md5(row({columns})::text)"
    total = " || ".join(
        f"lpad(to_hex(coalesce(sum(('x' || substr({row}, {start}, 8))::bit(32)::bigint), 0)::bigint), 16, '0')"
        for start in (1, 9)
    )
    return str(connection.execute(text(f"SELECT {total} FROM twap_status")).scalar_one())  # noqa: S608
