"""What became of an object's rows: the count that must add up, for every object, in the ledger.

Rule: rows read = inserted + updated + unchanged + superseded + quarantined + metadata.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows of one object, or of several together, by what became of them.

    Args:
        inserted: New events.
        updated: Events whose stored row gave way to this object's: other content, or a newer object.
        unchanged: Events that were stored already, just so; repetitions within the object among them.
        superseded: Events that gave way to another with the same (twap_id, wallet, ts).
        quarantined: Rows that could not be read without loss; kept in ``twap_status_quarantine``.
        metadata: The vendor's own rows, no events.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    quarantined: int = 0
    metadata: int = 0

    @property
    def total(self) -> int:
        """All rows."""
        return sum(astuple(self))

    @property
    def stored(self) -> int:
        """Rows whose event the table holds, just so, because of this object or already before it."""
        return self.inserted + self.updated + self.unchanged

    def __add__(self, other: "RowCounts") -> "RowCounts":
        return RowCounts(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @classmethod
    def sum_of(cls, parts: Iterable["RowCounts"]) -> "RowCounts":
        """Return the sum of the parts."""
        return sum(parts, cls())

    def as_dict(self) -> dict[str, int]:
        """Return outcome → rows, in the order of the rule."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
