"""A listed object, and the UTC day (partition) to which it belongs.

Put functions here that need only a key or a listing entry. Reading objects belongs in ``source``; the state of
ingestion belongs in ``storage``.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

KEY_DATE_PATTERNS: tuple[str, ...] = (
    r"(?:^|/)date=(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?:/|$)",
    r"(?:^|/)(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)(?=/)",
    r"(?:^|/)year=(?P<year>\d{4})/month=(?P<month>\d\d?)/day=(?P<day>\d\d?)(?=/)",
    r"(?<!\d)(?P<year>20\d\d)-(?P<month>\d\d)-(?P<day>\d\d)(?!\d)",
    r"(?<!\d)(?P<year>20\d\d)(?P<month>\d\d)(?P<day>\d\d)(?!\d)",
)
"""Regular expressions for the date in a key, in the order in which they are tried. The layout of the real bucket's keys
is not published. A key that matches none belongs to the day of its LastModified."""


_YEAR_MAX = 2100
"""Latest year of a LastModified. Valid event times end one day after it, so a later one would admit any time."""

_SIZE_MAX = 2**63 - 1
"""Maximum of PostgreSQL's BIGINT."""

_ESCAPE = re.compile(r"\\(x00|ud[89a-f])")
"""How `_escape` writes NUL and surrogates."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """One version of an object, as listed.

    Args:
        key: The full key in the store, verbatim; escaped if PostgreSQL cannot store it.
        etag: ETag of this version, without quotes.
        last_modified: LastModified of this version, aware UTC; 1970 if the listed one is not valid.
        size_bytes: Size of this version; 0 if the listed one is not valid.
        invalid: Why this listing entry is not valid, so the object cannot be fetched; None if it is.
    """

    key: str
    etag: str
    last_modified: datetime
    size_bytes: int
    invalid: str | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        """Replace values of the listing that cannot be stored or computed with, and set ``invalid``."""
        if _escape(self.key) != self.key:
            self._replace_invalid(
                "key", _escape(self.key), "the key contains NUL or bytes that are not UTF-8: rename it"
            )
        if self.last_modified.tzinfo is None or self.last_modified.year > _YEAR_MAX:
            reason = f"LastModified {self.last_modified.isoformat()} has no time zone or is after {_YEAR_MAX}"
            self._replace_invalid("last_modified", datetime(1970, 1, 1, tzinfo=UTC), reason)
        if not 0 <= self.size_bytes <= _SIZE_MAX:
            self._replace_invalid("size_bytes", 0, f"a size of {self.size_bytes} bytes is not valid")

    def _replace_invalid(self, name: str, value: object, reason: str) -> None:
        object.__setattr__(self, name, value)
        object.__setattr__(self, "invalid", f"{self.invalid}; {reason}" if self.invalid else reason)


def _escape(text: str) -> str:
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def is_escaped(key: str) -> bool:
    """Return whether a key can be the escaped one of an `ObjectRef`, whose listing is in the order of the original."""
    return _ESCAPE.search(key) is not None


def resolve_key_date_patterns(first: str | None) -> tuple[str, ...]:
    """Return the patterns in the order in which they are tried: the configured one, if any, then the built-in ones."""
    return (first, *KEY_DATE_PATTERNS) if first else KEY_DATE_PATTERNS


def day_from_key(key: str, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS) -> date | None:
    """Return the UTC day in the key, by the first pattern that matches a valid date; None if no pattern does."""
    match = _match_date(key, key_date_patterns)
    return match[0] if match else None


def _match_date(key: str, key_date_patterns: Sequence[str]) -> tuple[date, re.Match[str]] | None:
    for pattern in key_date_patterns:
        for match in re.finditer(pattern, key):
            try:
                return date(int(match["year"]), int(match["month"]), int(match["day"])), match
            except ValueError:
                continue
    return None


def key_layout(ref: ObjectRef, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS) -> str:
    """Return the layout of a key: the key up to the end of its date, with the date as placeholders of `str.format`.

    Each placeholder keeps the width of the date's part: ``raw/{year:04}-{month:02}-{day:02}``. A key without a date is
    its own layout. The layout is empty if the key before the end of the date is escaped: no prefix would list it.
    """
    matched = _match_date(ref.key, key_date_patterns)
    if matched is None:
        layout = _escape_braces(ref.key)
    else:
        layout, position = "", 0
        for start, end, name in sorted((*matched[1].span(name), name) for name in ("year", "month", "day")):
            layout += f"{_escape_braces(ref.key[position:start])}{{{name}:0{end - start}}}"
            position = end
    return "" if ref.invalid and "\\" in layout else layout


def _escape_braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def day_prefix(layout: str, day: date) -> str:
    """Return the prefix of the keys that have this layout and this day; the empty layout has the empty prefix.

    The prefix can also be the start of keys of other days: ``day=1`` is the start of ``day=10``.
    """
    return layout.format(year=day.year, month=day.month, day=day.day)


def remove_covered_prefixes(prefixes: Iterable[str]) -> list[str]:
    """Return the prefixes that do not start with another one, sorted: each key has one of them at most."""
    kept: list[str] = []
    for prefix in sorted(prefixes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept


def partition_date(ref: ObjectRef, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS) -> date:
    """Return the UTC day of an object: the date in its key, or else the date of its LastModified."""
    return day_from_key(ref.key, key_date_patterns) or utc_date(ref.last_modified)


def utc_date(time: datetime) -> date:
    """Return the UTC day of an aware time."""
    return time.astimezone(UTC).date()


def fingerprint(refs: Iterable[ObjectRef]) -> str:
    """Return a digest of the set of versions, 16 hex digits, independent of the order: a day's data version."""
    digest = hashlib.sha256()
    for ref in sorted(refs):
        digest.update(f"{ref.key}\0{ref.etag}\0{ref.last_modified.isoformat()}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
