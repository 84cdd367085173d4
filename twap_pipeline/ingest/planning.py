"""The listing against the ledger: what is still to be taken, by UTC day. Never by time or name, always (key, etag)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from twap_pipeline.domain.object_ref import DAY_LAYOUTS, ObjectRef, object_day
from twap_pipeline.storage.ingest_log import LedgerEntry


def group_by_day(listing: Iterable[ObjectRef], layouts: Sequence[str] = DAY_LAYOUTS) -> dict[date, list[ObjectRef]]:
    """Return the objects of each UTC day, days and keys in order."""
    days: dict[date, list[ObjectRef]] = {}
    for ref in sorted(listing):
        days.setdefault(object_day(ref, layouts), []).append(ref)
    return dict(sorted(days.items()))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a listing holds that the ledger does not.

    Args:
        pending: Objects to take, by day and key.
        loaded: Objects that are in the table already.
        parked: Objects that failed as often as they may.
    """

    pending: tuple[ObjectRef, ...]
    loaded: tuple[ObjectRef, ...]
    parked: tuple[ObjectRef, ...]

    @property
    def pending_bytes(self) -> int:
        """Bytes that taking the pending objects reads."""
        return sum(ref.size_bytes for ref in self.pending)


def plan(listing: Iterable[ObjectRef], ledger: Mapping[str, LedgerEntry], *, only: Collection[str] = ()) -> Plan:
    """Compare a listing with the ledger.

    Args:
        listing: Objects, in any order.
        ledger: Entries by key.
        only: Take none but these keys, and take them even if they are parked.
    """
    pending, loaded, parked = [], [], []
    for ref in listing:
        entry = ledger.get(ref.key)
        if entry is not None and entry.holds(ref):
            loaded.append(ref)
        elif only:
            pending += [ref] if ref.key in only else []
        elif entry is not None and entry.parks(ref):
            parked.append(ref)
        else:
            pending.append(ref)
    return Plan(tuple(pending), tuple(loaded), tuple(parked))
