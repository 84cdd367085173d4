"""The listing against the ledger: what is still to be taken, by UTC day. Never by time or name, always (key, etag)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef, partition_date
from twap_pipeline.errors import BudgetExceededError
from twap_pipeline.source.s3_pricing import get_cost_usd
from twap_pipeline.storage.ingest_log import IngestLogEntry


def group_by_day(
    listing: Iterable[ObjectRef], key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS
) -> dict[date, list[ObjectRef]]:
    """Return the objects of each UTC day, days and keys in order."""
    days: dict[date, list[ObjectRef]] = {}
    for ref in sorted(listing):
        days.setdefault(partition_date(ref, key_date_patterns), []).append(ref)
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


def plan(listing: Iterable[ObjectRef], ledger: Mapping[str, IngestLogEntry], *, only: Collection[str] = ()) -> Plan:
    """Compare a listing with the ledger.

    Args:
        listing: Objects, in any order.
        ledger: Entries by key.
        only: Take none but these keys, and take them even if they are parked.
    """
    pending, loaded, parked = [], [], []
    for ref in listing:
        entry = ledger.get(ref.key)
        if entry is not None and entry.is_loaded(ref):
            loaded.append(ref)
        elif only:
            pending += [ref] if ref.key in only else []
        elif entry is not None and entry.is_parked(ref):
            parked.append(ref)
        else:
            pending.append(ref)
    return Plan(tuple(pending), tuple(loaded), tuple(parked))


def check_budget(
    pending: Iterable[ObjectRef], *, max_bytes: int | None, max_bytes_today: int | None, read_today_bytes: int
) -> None:
    """Refuse work that would read more than it may, before anything is read.

    Args:
        pending: What the run would take.
        max_bytes: Budget of one run; None for no bound.
        max_bytes_today: Budget of the UTC day; None for no bound.
        read_today_bytes: What other runs of the day have read.

    Raises:
        BudgetExceededError: Names the budget, the work and the ways out.
    """
    refs = list(pending)
    wanted = sum(ref.size_bytes for ref in refs)
    work = f"{len(refs)} objects of {wanted:,} bytes (${get_cost_usd(len(refs), wanted):.2f} from outside the region)"
    if max_bytes is not None and wanted > max_bytes:
        raise BudgetExceededError(
            f"this run would read {work}, TWAP_MAX_BYTES_PER_RUN allows {max_bytes:,}: nothing was read;"
            " take fewer days at a time, or raise the budget"
        )
    if max_bytes_today is not None and wanted and wanted + read_today_bytes > max_bytes_today:
        raise BudgetExceededError(
            f"this run would read {work} and {read_today_bytes:,} bytes were read today, TWAP_MAX_BYTES_PER_DAY allows"
            f" {max_bytes_today:,}: nothing was read; wait for the next UTC day, or raise the budget"
        )
