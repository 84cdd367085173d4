"""A listing spread over several looks: so many keys at a time from where the last look ended, and recent days always.

When the last key has been seen the next look begins anew: that is how an object that appears late, under an old day,
is found. Where the last look ended is all that is remembered; what is loaded, only the ledger knows.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from twap_pipeline.domain.object_ref import ObjectRef, day_prefixes, partition_date
from twap_pipeline.ingest.plan import group_by_day
from twap_pipeline.source.base import ObjectStore


@dataclass(frozen=True, slots=True)
class ListingSlice:
    """What one look saw.

    Args:
        days: UTC day → its objects, days in the order in which the listing reached them.
        is_complete: Whether these are all objects of the place.
        resume_after_by_date: Day → the key after which to look again in order to see that day first.
        next_cursor: Where the next look begins; empty for the beginning.
    """

    days: dict[date, list[ObjectRef]]
    is_complete: bool
    resume_after_by_date: dict[date, str]
    next_cursor: str


def list_slice(
    store: ObjectStore, after: str, key_date_patterns: Sequence[str], *, keys_max: int, seconds_max: float
) -> ListingSlice:
    """List on from a key until the end, or until enough keys or seconds.

    A look that is cut short leaves out the day it was cut in, unless that day is all it saw.

    Args:
        store: The place.
        after: The key to begin behind; empty for the beginning.
        key_date_patterns: How keys name their day.
        keys_max: Keys to see at most.
        seconds_max: Seconds to take at most.
    """
    deadline = time.monotonic() + seconds_max
    days: dict[date, list[ObjectRef]] = {}
    resume_after_by_date: dict[date, str] = {}
    last, count = after, 0
    for ref in store.list_objects(after=after):
        day = partition_date(ref, key_date_patterns)
        if count >= keys_max or time.monotonic() >= deadline:
            return _cut(days, resume_after_by_date, day, last)
        if day not in days:
            resume_after_by_date[day] = last
        days.setdefault(day, []).append(ref)
        last, count = ref.key, count + 1
    return ListingSlice(days, is_complete=after == "", resume_after_by_date=resume_after_by_date, next_cursor="")


def _cut(
    days: dict[date, list[ObjectRef]], resume_after_by_date: dict[date, str], day: date, last: str
) -> ListingSlice:
    if day in days and len(days) > 1:
        del days[day]
        last = resume_after_by_date[day]
    return ListingSlice(days, is_complete=False, resume_after_by_date=resume_after_by_date, next_cursor=last)


def list_days(
    store: ObjectStore, days: Iterable[date], known_keys: Sequence[str], key_date_patterns: Sequence[str]
) -> dict[date, list[ObjectRef]]:
    """Return the objects of some days alone, by the prefixes that known keys of other days suggest."""
    prefixes = {prefix for day in days for prefix in day_prefixes(known_keys, day, key_date_patterns)}
    return group_by_day(
        (ref for prefix in sorted(prefixes) for ref in store.list_objects(below=prefix)), key_date_patterns
    )
