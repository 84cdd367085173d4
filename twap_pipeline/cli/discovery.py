"""The command ``discover``: what a source contains, how its keys encode dates, and how one object is mapped."""

from collections.abc import Sequence
from datetime import date

import click
from rich import filesize

from twap_pipeline.cli.context import (
    DATA_SETS,
    data_set_option,
    first_partition,
    load_command_settings,
    source_option,
)
from twap_pipeline.cli.tables import print_table
from twap_pipeline.domain import fills
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import ObjectRef, day_from_key, partition_date, resolve_key_date_patterns
from twap_pipeline.domain.source_schema import flat_schema, map_columns
from twap_pipeline.errors import SourceNotFoundError
from twap_pipeline.ingest.plan import group_by_day, objects_before
from twap_pipeline.settings import Settings
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.configured_store import open_configured_store
from twap_pipeline.source.object_file import ObjectFile
from twap_pipeline.source.parquet import ParquetObject
from twap_pipeline.source.s3_pricing import get_cost_usd, list_cost_usd, list_requests
from twap_pipeline.source.selection import SkippedObjects, join_keys

_PRINTED_KEYS = 5
_ADVICE = {
    TWAP_STATUS.name: "check the prefix in TWAP_SOURCE_URL",
    TWAP_FILLS.name: "check TWAP_FILLS_URL and TWAP_FILLS_PREFIXES",
}
_NO_MATCH = "no match: LastModified date"


@click.command()
@data_set_option
@source_option
def discover(data_set_name: str, source_url: str | None) -> None:
    """Describe the source: keys, schema, column mapping and cost.

    Lists the source and reads its newest object. Writes nothing.
    """
    data_set = DATA_SETS[data_set_name]
    settings = load_command_settings(source_url, data_set)
    store = open_configured_store(settings, data_set)
    skipped = SkippedObjects()
    listing = sorted(store.list_objects(skipped=skipped))
    if not listing:
        reason = f"; check TWAP_OBJECT_PATTERN; skipped objects: {skipped}" if skipped else ""
        raise SourceNotFoundError(f"{store.url} contains no data; {_ADVICE[data_set.name]}{reason}")
    size_bytes = sum(ref.size_bytes for ref in listing)
    click.echo(f"{store.url}: {len(listing):,} objects, {filesize.decimal(size_bytes)}")
    click.echo(
        f"estimated cost: listing ${list_cost_usd(len(listing)):.4f} ({list_requests(len(listing))} LIST requests);"
        f" reading all objects ${get_cost_usd(len(listing), size_bytes):.2f} from outside the bucket's region\n"
    )
    step = max(1, len(listing) // _PRINTED_KEYS)
    print_table(
        ["key", "bytes", "last modified (UTC)"],
        [(ref.key, ref.size_bytes, ref.last_modified) for ref in listing[::step][:_PRINTED_KEYS]],
    )
    click.echo("")
    print_table(
        ["key date pattern", "objects", "first date", "last date"],
        count_by_key_pattern(listing, resolve_key_date_patterns(settings.key_date_pattern)),
    )
    click.echo("")
    _print_ignored(settings, data_set, listing, skipped)
    _print_object(store, data_set, max(listing, key=lambda ref: (ref.invalid is None, ref.last_modified, ref.key)))


def count_by_key_pattern(
    listing: Sequence[ObjectRef], key_date_patterns: Sequence[str]
) -> list[tuple[str, int, date, date]]:
    """Return pattern, number of objects, first and last date, per pattern that matches a key.

    A key counts for the first pattern that matches.
    """
    dates: dict[str, list[date]] = {}
    for ref in listing:
        matches = (pattern for pattern in key_date_patterns if day_from_key(ref.key, [pattern]))
        dates.setdefault(next(matches, _NO_MATCH), []).append(partition_date(ref, key_date_patterns))
    return [(pattern, len(days), min(days), max(days)) for pattern, days in dates.items()]


def _print_ignored(
    settings: Settings, data_set: DataSet, listing: Sequence[ObjectRef], skipped: SkippedObjects
) -> None:
    """Print the number and first keys of the objects that are not ingested, by reason."""
    days = group_by_day(listing, resolve_key_date_patterns(settings.key_date_pattern))
    start_date, setting = first_partition(settings, data_set)
    early = [ref.key for ref in objects_before(days, start_date)]
    ignored: list[tuple[str, list[str]]] = [*skipped.keys.items()]
    if early:
        ignored.append((f"before {setting} ({start_date})", early))
    rows = [(len(keys), reason, join_keys(keys)) for reason, keys in ignored]
    if rows:
        print_table(["objects not ingested", "reason", "first keys"], rows)
        click.echo("")


def _print_object(store: ObjectStore, data_set: DataSet, ref: ObjectRef) -> None:
    """Print the Arrow schema of an object and the column that each of its columns maps to."""
    with ObjectFile() as file:
        is_verified = store.fetch(ref, file)
        parquet = ParquetObject(ref.key, file, ref.size_bytes)
        if data_set == TWAP_FILLS:
            mapping, remaining = fills.map_columns(ref.key, dict(parquet.schema)), "other_fields"
        else:
            mapping, remaining = map_columns(ref.key, flat_schema(ref.key, parquet.schema)), "raw_payload only"
        click.echo(
            f"newest object: {store.uri(ref.key)}, {parquet.num_rows:,} rows, {filesize.decimal(ref.size_bytes)},"
            f" checksum {'verified' if is_verified else 'not available'}\n"
        )
        targets = {source_name: column for column, source_name in mapping.sources.items()}
        targets |= dict.fromkeys(mapping.event_times, "ts")
        targets |= dict.fromkeys(mapping.unknown_columns, f"{remaining} (unknown column)")
        print_table(
            ["column", "Arrow type", "maps to"],
            [(field.name, field.type, targets.get(field.name, remaining)) for field in parquet.arrow_schema],
        )
    if mapping.uses_creation_time:
        click.echo("warning: no event-time column; using order creation time")
