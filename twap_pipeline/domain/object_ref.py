"""One object of the bucket as a listing shows it, and the UTC day that it belongs to.

Here belongs what can be told from a key and a listing alone. ObjectReader objects is ``source``'s work; what was already
ingested is ``storage``'s.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

KEY_DATE_PATTERNS: tuple[str, ...] = (
    r"(?:^|/)date=(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?:/|$)",
    r"(?:^|/)(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)(?=/)",
    r"(?:^|/)year=(?P<year>\d{4})/month=(?P<month>\d\d?)/day=(?P<day>\d\d?)(?=/)",
    r"(?<!\d)(?P<year>20\d\d)-(?P<month>\d\d)-(?P<day>\d\d)(?!\d)",
    r"(?<!\d)(?P<year>20\d\d)(?P<month>\d\d)(?P<day>\d\d)(?!\d)",
)
"""Where a key names its day, in order of trust. No public text shows the bucket's real keys, so a layout is tried,
never assumed; a key that fits none gets the day of its LastModified."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """An object as listed. ``key`` is relative to nothing: it is the store's whole key.

    Args:
        key: The object's key, to the letter.
        etag: The store's tag of these very bytes, without quotes.
        last_modified: When the store took these bytes, aware UTC.
        size_bytes: Length of the bytes.
    """

    key: str
    etag: str
    last_modified: datetime
    size_bytes: int


def resolve_key_date_patterns(first: str | None) -> tuple[str, ...]:
    """Return the key_date_patterns in the order of trial: the configured one, if any, before the usual ones."""
    return (first, *KEY_DATE_PATTERNS) if first else KEY_DATE_PATTERNS


def day_from_key(key: str, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS) -> date | None:
    """Return the UTC day that the key names, by the first layout that gives a date of the calendar."""
    named = _day_named(key, key_date_patterns)
    return named[0] if named else None


def _day_named(key: str, key_date_patterns: Sequence[str]) -> tuple[date, re.Match[str]] | None:
    for layout in key_date_patterns:
        for match in re.finditer(layout, key):
            try:
                return date(int(match["year"]), int(match["month"]), int(match["day"])), match
            except ValueError:
                continue
    return None


def day_prefixes(
    known_keys: Iterable[str], day: date, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS
) -> set[str]:
    """Return the key prefixes under which a day's objects would lie, judging by keys of other days.

    Each known key that names its day gives one: the key up to its date, with the day put in place of its own.
    """
    return {prefix for key in known_keys if (prefix := _prefix_like(key, day, key_date_patterns))}


def _prefix_like(key: str, day: date, key_date_patterns: Sequence[str]) -> str | None:
    named = _day_named(key, key_date_patterns)
    if named is None:
        return None
    match = named[1]
    parts = sorted((match.span(name), getattr(day, name)) for name in ("year", "month", "day"))
    written = key[: parts[-1][0][1]]
    for (first, last), value in reversed(parts):
        written = f"{written[:first]}{value:0{last - first}}{written[last:]}"
    return written


def partition_date(ref: ObjectRef, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS) -> date:
    """Return the UTC day of an object: the one its key names, else that of its LastModified."""
    return day_from_key(ref.key, key_date_patterns) or ref.last_modified.astimezone(UTC).date()


def fingerprint(refs: Iterable[ObjectRef]) -> str:
    """Return a digest of the set of (key, etag), the same for any order: a day's data version (16 hex digits)."""
    digest = hashlib.sha256()
    for ref in sorted(refs):
        digest.update(f"{ref.key}\0{ref.etag}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
