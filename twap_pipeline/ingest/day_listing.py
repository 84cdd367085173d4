"""Lists the objects of single days by key prefix, so that the cost does not grow with the number of objects.

The prefixes are derived from the layouts of keys, which the table ``etl_s3_key_layouts`` contains per source. The
layouts of a source are unknown until a complete listing records them; afterwards every listing adds those that it sees.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from datetime import date

from sqlalchemy import Engine

from twap_pipeline.domain.object_ref import ObjectRef, day_prefix, key_layout, partition_date, remove_covered_prefixes
from twap_pipeline.ingest.plan import group_by_day
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.identity import source_identity
from twap_pipeline.source.selection import SkippedObjects
from twap_pipeline.storage.key_layouts import add_key_layouts, read_key_layouts

LAYOUTS_MAX = 20
"""Maximum layouts of a source. With more, a part that varies precedes the date, and one full listing costs less."""

EVERY_KEY = frozenset({""})
"""The layouts of a source whose days cannot be listed by prefix: the empty prefix lists all keys."""


def list_days(
    store: ObjectStore, engine: Engine, days: Iterable[date], key_date_patterns: Sequence[str]
) -> dict[date, list[ObjectRef]]:
    """Return UTC day → all its objects, for each of these days that has objects.

    Lists the prefixes of the days. Lists the whole source, and records its layouts, if none are known, or if a day has
    no objects in the known ones: a new layout may have replaced them.

    Raises:
        SourceError: A listing failed.
    """
    wanted = set(days)
    with engine.connect() as connection:
        layouts = _limit(read_key_layouts(connection, source_identity(store.url)))
    listed = list_days_by_layout(store, wanted, layouts, key_date_patterns)
    if layouts != EVERY_KEY and wanted - listed.keys():
        listed = list_source(store, engine, key_date_patterns, days=wanted)
    return listed


def list_source(
    store: ObjectStore,
    engine: Engine,
    key_date_patterns: Sequence[str],
    *,
    days: Set[date] | None = None,
    skipped: SkippedObjects | None = None,
) -> dict[date, list[ObjectRef]]:
    """List the whole source and record its layouts; return UTC day → objects, of all or of these days.

    Raises:
        SourceError: The listing failed.
    """
    seen: set[str] = set()
    refs = _collect_layouts(store.list_objects(skipped=skipped), key_date_patterns, seen)
    listed = group_by_day(refs, key_date_patterns) if days is None else _group_days(refs, days, key_date_patterns)
    record_layouts(engine, store, seen, is_complete=True)
    return listed


def list_days_by_layout(
    store: ObjectStore, days: Set[date], layouts: Set[str], key_date_patterns: Sequence[str]
) -> dict[date, list[ObjectRef]]:
    """Return UTC day → its objects, for these days, of the keys that have one of these layouts."""
    prefixes = remove_covered_prefixes({day_prefix(layout, day) for layout in layouts for day in days})
    refs = (ref for prefix in prefixes for ref in store.list_objects(below=prefix))
    return _group_days(refs, days, key_date_patterns)


def find_layouts(refs: Iterable[ObjectRef], key_date_patterns: Sequence[str]) -> set[str]:
    """Return the layouts of these objects, or `EVERY_KEY` if there are more than `LAYOUTS_MAX`."""
    seen: set[str] = set()
    for _ in _collect_layouts(refs, key_date_patterns, seen):
        pass
    return _limit(seen)


def record_layouts(engine: Engine, store: ObjectStore, seen: Set[str], *, is_complete: bool) -> set[str]:
    """Record the layouts that a listing returned; call it before a run is requested for one of its objects.

    Without an earlier complete listing, the layouts of a listing that is not complete are not recorded.

    Returns:
        All known layouts of the source; empty if they are unknown.
    """
    source_url = source_identity(store.url)
    with engine.begin() as connection:
        known = read_key_layouts(connection, source_url)
        if not known and not is_complete:
            return set()
        layouts = _limit(known | seen)
        add_key_layouts(connection, source_url, layouts - known)
    return layouts


def _limit(layouts: Set[str]) -> set[str]:
    return set(EVERY_KEY if layouts >= EVERY_KEY or len(layouts) > LAYOUTS_MAX else layouts)


def _collect_layouts(
    refs: Iterable[ObjectRef], key_date_patterns: Sequence[str], seen: set[str]
) -> Iterator[ObjectRef]:
    """Yield the objects and add their layouts to ``seen``, up to one more than `LAYOUTS_MAX`."""
    for ref in refs:
        if len(seen) <= LAYOUTS_MAX:
            seen.add(key_layout(ref, key_date_patterns))
        yield ref


def _group_days(
    refs: Iterable[ObjectRef], days: Set[date], key_date_patterns: Sequence[str]
) -> dict[date, list[ObjectRef]]:
    """Return UTC day → objects, for these days; the other objects are not kept in memory."""
    return group_by_day((ref for ref in refs if partition_date(ref, key_date_patterns) in days), key_date_patterns)
