"""Which listed objects are data, and which ones a listing skips and counts.

The rule is the same for every store. Errors of the store itself belong in the module of the store.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from twap_pipeline.domain.object_ref import ObjectRef

log = logging.getLogger(__name__)
"""Logs one line per listing that skipped objects."""

EVERY_NAME = "*"
"""The pattern that matches every object name."""

_PRINTED_KEYS = 3


class SkipReason(StrEnum):
    """Why a listing skips an object."""

    DIRECTORY_MARKER = "directory marker"
    HIDDEN = "a path segment starts with _ or ."
    NAME = "name does not match TWAP_OBJECT_PATTERN"


@dataclass(slots=True)
class SkippedObjects:
    """The objects that a listing skipped."""

    keys: dict[SkipReason, list[str]] = field(default_factory=dict)
    """Reason → keys, in the order of the listing."""

    def add(self, key: str, reason: SkipReason) -> None:
        """Count a skipped object."""
        self.keys.setdefault(reason, []).append(key)

    def __bool__(self) -> bool:
        """Return whether any object was skipped."""
        return bool(self.keys)

    def __str__(self) -> str:
        """Return the number of objects and their first keys, by reason."""
        return "; ".join(f"{len(keys):,}: {reason} ({join_keys(keys)})" for reason, keys in self.keys.items())


def join_keys(keys: Sequence[str]) -> str:
    """Return the first keys as text, with ``…`` if there are more."""
    return ", ".join([*keys[:_PRINTED_KEYS], *(["…"] if len(keys) > _PRINTED_KEYS else [])])


def skip_reason(ref: ObjectRef, prefix: str, name_pattern: str) -> SkipReason | None:
    """Return why the object is not data; None if it is data.

    The path segments of ``prefix``, the folder of the source, are not compared. The pattern is case-sensitive.
    """
    *folders, name = ref.key.removeprefix(prefix).split("/")
    if any(segment.startswith(("_", ".")) for segment in [*folders, name]):
        return SkipReason.HIDDEN
    if not name:
        return SkipReason.DIRECTORY_MARKER
    return None if fnmatchcase(name, name_pattern) else SkipReason.NAME


def select_objects(
    refs: Iterable[ObjectRef], *, prefix: str, name_pattern: str, skipped: SkippedObjects | None
) -> Iterator[ObjectRef]:
    """Yield the objects that are data; add the others to ``skipped``, and log them at the end of the listing."""
    skipped = SkippedObjects() if skipped is None else skipped
    for ref in refs:
        if reason := skip_reason(ref, prefix, name_pattern):
            skipped.add(ref.key, reason)
        else:
            yield ref
    if skipped:
        log.info("skipped objects that are not data: %s", skipped)
