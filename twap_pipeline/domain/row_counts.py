"""Counts what happened to each row of an object. The counts add up to the rows read, in the ingest log.

Rows read = inserted + updated + unchanged + superseded + quarantined + metadata.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows of one or several objects, by outcome.

    Args:
        inserted: New rows.
        updated: Rows that replaced a stored row: with other content, or from a newer object.
        unchanged: Rows that were stored already with the same content, and copies of a stored row within the object.
        superseded: Rows that lost to another row with the same key.
        quarantined: Rows that could not be read without loss; the quarantine table of the data set contains them.
        metadata: Rows that are not of the data set: the vendor's ``_metadata`` rows, and fills without a ``twap_id``.
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
        """Rows whose event and content the table contains: inserted, updated or unchanged."""
        return self.inserted + self.updated + self.unchanged

    def __add__(self, other: "RowCounts") -> "RowCounts":
        return RowCounts(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @classmethod
    def sum_of(cls, parts: Iterable["RowCounts"]) -> "RowCounts":
        """Return the sum of the parts."""
        return sum(parts, cls())

    def as_dict(self) -> dict[str, int]:
        """Return outcome → rows, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
