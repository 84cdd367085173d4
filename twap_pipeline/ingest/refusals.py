"""Refused GETs of a run: whether single objects are at fault, or the store as a whole.

An object that is refused alone fails like any other object, and is parked in the end. Several in a row mean that the
store refuses this identity: the run ends, and no object has failed.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ObjectRefusedError, SourceAccessError
from twap_pipeline.storage.ingest_log import Attempt

REFUSALS_MAX = 3
"""Objects refused in a row that are a failure of the store."""


class Refusal(NamedTuple):
    """An object whose GET was refused, the attempt as the ingest log records it, and the error."""

    ref: ObjectRef
    attempt: Attempt
    error: ObjectRefusedError


@dataclass(slots=True)
class RefusalStreak:
    """The refusals since the last object that was read, in the order of a run's objects."""

    _refusals: list[Refusal] = field(default_factory=list)

    def add(self, refusal: Refusal) -> None:
        """Add the next object, which was refused.

        Raises:
            SourceAccessError: It is the `REFUSALS_MAX`-th in a row. None of them must be recorded as failed.
        """
        self._refusals.append(refusal)
        if len(self._refusals) >= REFUSALS_MAX:
            keys = ", ".join(refused.ref.key for refused in self._refusals)
            raise SourceAccessError(
                f"the store refused {len(self._refusals)} objects in a row, so no attempt of these objects is counted:"
                f" {keys}. The last one: {refusal.error.reason}"
            )

    def end(self) -> list[Refusal]:
        """Return the refusals and forget them: another object was read, or the run ends. Their objects have failed."""
        refusals, self._refusals = self._refusals, []
        return refusals
