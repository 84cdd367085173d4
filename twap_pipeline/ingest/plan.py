"""Compares a listing with the ingest log: which objects are pending, and what reading them costs.

An object version is identified by key, ETag and LastModified, never by its time or name alone.
"""

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
    """Return UTC day → objects; days and keys are sorted."""
    days: dict[date, list[ObjectRef]] = {}
    for ref in sorted(listing):
        days.setdefault(partition_date(ref, key_date_patterns), []).append(ref)
    return dict(sorted(days.items()))


def objects_before(days: Mapping[date, Sequence[ObjectRef]], start: date) -> list[ObjectRef]:
    """Return the objects of days before the first partition, which are never loaded."""
    return [ref for day, refs in days.items() if day < start for ref in refs]


@dataclass(frozen=True, slots=True)
class Plan:
    """The objects of a listing by their state in the ingest log.

    Args:
        pending: Objects to load.
        loaded: Objects whose listed version is loaded.
        parked: Objects whose listed version failed the maximum number of times.
    """

    pending: tuple[ObjectRef, ...]
    loaded: tuple[ObjectRef, ...]
    parked: tuple[ObjectRef, ...]


def plan(listing: Iterable[ObjectRef], entries: Mapping[str, IngestLogEntry], *, only: Collection[str] = ()) -> Plan:
    """Compare a listing with the ingest log; with ``only``, only these keys become pending, also if they are parked."""
    pending, loaded, parked = [], [], []
    for ref in listing:
        entry = entries.get(ref.key)
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
    """Check that reading the pending objects stays within the byte budgets of the run and of the UTC day.

    A budget of None is unlimited. ``read_today_bytes`` are those that other runs have read on this day.

    Raises:
        BudgetExceededError: Names the budget, the work and the remedies.
    """
    refs = list(pending)
    pending_bytes = sum(ref.size_bytes for ref in refs)
    cost_usd = get_cost_usd(len(refs), pending_bytes)
    work = f"{len(refs)} objects of {pending_bytes:,} bytes (${cost_usd:.2f} from outside the region)"
    if max_bytes is not None and pending_bytes > max_bytes:
        raise BudgetExceededError(
            f"this run would read {work}, TWAP_MAX_BYTES_PER_RUN allows {max_bytes:,}: nothing was read;"
            " ingest fewer days per run, or raise the budget"
        )
    if max_bytes_today is not None and pending_bytes and pending_bytes + read_today_bytes > max_bytes_today:
        raise BudgetExceededError(
            f"this run would read {work} and {read_today_bytes:,} bytes were read today, TWAP_MAX_BYTES_PER_DAY allows"
            f" {max_bytes_today:,}: nothing was read; wait for the next UTC day, or raise the budget"
        )
