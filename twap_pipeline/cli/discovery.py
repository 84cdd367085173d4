"""What can be told of a source by looking: how keys name their days, and how one object would be read."""

import tempfile
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import click

from twap_pipeline.cli import tables
from twap_pipeline.domain.object_ref import ObjectRef, day_from_key, partition_date

if TYPE_CHECKING:
    from twap_pipeline.source.base import ObjectStore


def key_pattern_counts(
    listing: Sequence[ObjectRef], key_date_patterns: Sequence[str]
) -> list[tuple[str, int, date, date]]:
    """Return each layout that names some key's day, with its objects and days; the first that fits a key counts."""
    days: dict[str, list[date]] = {}
    for ref in listing:
        named = next(
            (layout for layout in key_date_patterns if day_from_key(ref.key, [layout])), "none: the day of LastModified"
        )
        days.setdefault(named, []).append(partition_date(ref, key_date_patterns))
    return [(layout, len(found), min(found), max(found)) for layout, found in days.items()]


def describe_object(store: "ObjectStore", ref: ObjectRef) -> None:
    """Print an object's Arrow schema and how its columns would be read."""
    from twap_pipeline.domain.source_schema import flat_schema, map_columns
    from twap_pipeline.source.parquet import ParquetObject

    with tempfile.SpooledTemporaryFile() as file:
        verified = store.fetch(ref, file)
        found = ParquetObject(ref.key, file, ref.size_bytes)
        mapping = map_columns(ref.key, flat_schema(ref.key, found.schema))
        click.echo(
            f"newest object: {store.uri(ref.key)}, {found.num_rows:,} rows, {tables.size(ref.size_bytes)},", nl=False
        )
        click.echo(f" digest {'verified' if verified else 'not offered by the store'}\n")
        readers = {name: ours for ours, name in mapping.sources.items()}
        readers |= dict.fromkeys(mapping.event_times, "ts")
        tables.table(
            ["column", "Arrow type", "read as"],
            [
                (field.name, field.type, _reader(field.name, readers, mapping.unknown_columns))
                for field in found.arrow_schema
            ],
        )
        if mapping.uses_creation_time:
            click.echo("uses_creation_time: no column of event times, ts is the order's creation")


def _reader(name: str, readers: dict[str, str], extra: Sequence[str]) -> str:
    if name in readers:
        return readers[name]
    return "raw_payload only (unknown column)" if name in extra else "raw_payload only"
