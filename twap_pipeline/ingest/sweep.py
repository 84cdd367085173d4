"""A listing spread over several looks: so many keys at a time from where the last look ended, and recent days always.

When the last key has been seen the next look begins anew: that is how an object that appears late, under an old day,
is found. Where the last look ended is all that is remembered; what is loaded, only the ledger knows.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from twap_pipeline.domain.object_ref import ObjectRef, day_prefixes, object_day
from twap_pipeline.ingest.planning import group_by_day
from twap_pipeline.source.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw.

    Args:
        days: UTC day → its objects, days in the order in which the listing reached them.
        whole: Whether these are all objects of the place.
        ended_before: Day → the key after which to look again in order to see that day first.
        after: Where the next look begins; empty for the beginning.
    """

    days: dict[date, list[ObjectRef]]
    whole: bool
    ended_before: dict[date, str]
    after: str


def look(store: ObjectStore, after: str, layouts: Sequence[str], *, keys_max: int, seconds_max: float) -> Look:
    """List on from a key until the end, or until enough keys or seconds.

    A look that is cut short leaves out the day it was cut in, unless that day is all it saw.

    Args:
        store: The place.
        after: The key to begin behind; empty for the beginning.
        layouts: How keys name their day.
        keys_max: Keys to see at most.
        seconds_max: Seconds to take at most.
    """
    deadline = time.monotonic() + seconds_max
    days: dict[date, list[ObjectRef]] = {}
    ended_before: dict[date, str] = {}
    last, count = after, 0
    for ref in store.list_objects(after=after):
        day = object_day(ref, layouts)
        if count >= keys_max or time.monotonic() >= deadline:
            return _cut(days, ended_before, day, last)
        if day not in days:
            ended_before[day] = last
        days.setdefault(day, []).append(ref)
        last, count = ref.key, count + 1
    return Look(days, whole=after == "", ended_before=ended_before, after="")


def _cut(days: dict[date, list[ObjectRef]], ended_before: dict[date, str], day: date, last: str) -> Look:
    if day in days and len(days) > 1:
        del days[day]
        last = ended_before[day]
    return Look(days, whole=False, ended_before=ended_before, after=last)


def list_days(
    store: ObjectStore, days: Iterable[date], known_keys: Sequence[str], layouts: Sequence[str]
) -> dict[date, list[ObjectRef]]:
    """Return the objects of some days alone, by the prefixes that known keys of other days suggest."""
    prefixes = {prefix for day in days for prefix in day_prefixes(known_keys, day, layouts)}
    return group_by_day((ref for prefix in sorted(prefixes) for ref in store.list_objects(below=prefix)), layouts)
