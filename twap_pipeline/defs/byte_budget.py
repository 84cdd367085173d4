"""The byte budget of a run and of a UTC day: which runs are refused, and which wait for the next day."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twap_pipeline.ingest import plan as ingest_plan

if TYPE_CHECKING:
    from twap_pipeline.domain.object_ref import ObjectRef


@dataclass(frozen=True)
class ByteBudget:
    """Limits of the object bytes that one run reads, and all runs of a UTC day; None for no limit."""

    max_bytes_per_run: int | None
    max_bytes_per_day: int | None

    def defers(self, size_bytes: int, read_today_bytes: int) -> bool:
        """Return whether a run of this size exceeds the budget of this UTC day, and fits into that of the next one."""
        limit = self.max_bytes_per_day
        return limit is not None and size_bytes <= limit < size_bytes + read_today_bytes

    def enforce(self, refs: Sequence["ObjectRef"], read_today_bytes: int) -> None:
        """Return if a run may read these objects.

        Raises:
            BudgetExceededError: These bytes, or the bytes of the day with them, exceed a limit.
        """
        ingest_plan.check_budget(
            refs,
            max_bytes=self.max_bytes_per_run,
            max_bytes_today=self.max_bytes_per_day,
            read_today_bytes=read_today_bytes,
        )
