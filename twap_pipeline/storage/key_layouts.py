"""The table ``etl_s3_key_layouts``: the layouts of the keys that listings of a source returned.

A layout is defined by `domain.object_ref.key_layout`. Which layouts are recorded is decided by `ingest.day_listing`.
"""

from collections.abc import Collection

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from twap_pipeline.storage.schema.models import etl_s3_key_layouts as key_layouts


def read_key_layouts(connection: Connection, source_url: str) -> set[str]:
    """Return the recorded layouts of a source, which is an identity from `source_identity`."""
    query = select(key_layouts.c.layout).where(key_layouts.c.source_url == source_url)
    return set(connection.execute(query).scalars())


def add_key_layouts(connection: Connection, source_url: str, layouts: Collection[str]) -> None:
    """Record layouts of a source; those that are recorded already stay as they are."""
    rows = [{"source_url": source_url, "layout": layout} for layout in sorted(layouts)]
    if rows:
        connection.execute(insert(key_layouts).on_conflict_do_nothing(), rows)
