"""Lists a store in slices: a limited number of keys per call, from where the previous slice ended.

After the last key the next slice starts from the beginning, so an object that appears late under an old day is found.
The cursor is the only state; which objects are loaded is known from the ingest log alone. Single days are listed by
`day_listing`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from twap_pipeline.domain.object_ref import ObjectRef, partition_date
from twap_pipeline.source.base import ObjectStore


@dataclass(frozen=True, slots=True)
class ListingSlice:
    """The result of one slice.

    Args:
        days: UTC day → its objects, in the order of the listing.
        is_complete: Whether these are all objects of the store.
        resume_after_by_date: UTC day → the key after which a slice must start to list that day first.
        next_cursor: The key after which the next slice starts; empty for the beginning.
    """

    days: dict[date, list[ObjectRef]]
    is_complete: bool
    resume_after_by_date: dict[date, str]
    next_cursor: str


def list_slice(
    store: ObjectStore, after: str, key_date_patterns: Sequence[str], *, keys_max: int, seconds_max: float
) -> ListingSlice:
    """List the objects after a key, until the end or a limit is reached; after an empty key, from the beginning.

    A limit that is reached within a day leaves that day to the next slice, unless it is the only day of this slice.
    """
    deadline = time.monotonic() + seconds_max
    days: dict[date, list[ObjectRef]] = {}
    resume_after_by_date: dict[date, str] = {}
    last_key, count = after, 0
    for ref in store.list_objects(after=after):
        day = partition_date(ref, key_date_patterns)
        if count >= keys_max or time.monotonic() >= deadline:
            if day in days and len(days) > 1:
                del days[day]
                last_key = resume_after_by_date[day]
            return ListingSlice(
                days, is_complete=False, resume_after_by_date=resume_after_by_date, next_cursor=last_key
            )
        resume_after_by_date.setdefault(day, last_key)
        days.setdefault(day, []).append(ref)
        last_key, count = (last_key if ref.invalid else ref.key), count + 1  # a key that is not valid is escaped
    return ListingSlice(days, is_complete=after == "", resume_after_by_date=resume_after_by_date, next_cursor="")
