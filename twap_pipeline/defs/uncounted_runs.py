"""Tags runs that are not an attempt at their objects: refused before they began, or stopped by SIGTERM or SIGINT.

A run is refused, for example, during an upgrade. A stopped run has the same tag: a host that is drained does not depend
on the objects.

The cause is the schema revision, the database, the source as a whole, or a setting. A sensor does not count such a run
as an attempt at the objects. A run over a byte budget counts: a sensor requests none while the day's budget is spent.
A run on a full disk, of the database or of this host, counts too: it reads its objects before it fails.
Which errors are refusals is decided here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from twap_pipeline.errors import (
    BudgetExceededError,
    DatabaseUnavailableError,
    LoadCancelledError,
    LocalResourceError,
    ObjectError,
    TwapPipelineError,
)

REFUSED_TAG = "twap/refused"
"""Tag of a refused run; its value is ``true``. The run's error names the cause."""

_COUNTED_ERRORS = (ObjectError, LoadCancelledError, LocalResourceError, BudgetExceededError)
_DISK_FULL = "53100"
_STOPPED = (
    "stopped by a signal: objects that were being loaded are rolled back, and no attempt of theirs is counted; the next"
    " run loads them"
)


@contextmanager
def tag_refused_run(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Add `REFUSED_TAG` to the run if the block raises a refusal or is interrupted; the error is raised again."""
    try:
        yield
    except TwapPipelineError as error:
        if _is_refusal(error):
            _tag(context)
        raise
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        _tag(context)
        context.log.warning(_STOPPED)
        raise


def _tag(context: dg.AssetExecutionContext) -> None:
    context.instance.add_run_tags(context.run.run_id, {REFUSED_TAG: "true"})


def _is_refusal(error: TwapPipelineError) -> bool:
    """Return whether the error is not about an object, nor repeats the reading of objects at each attempt."""
    if isinstance(error, DatabaseUnavailableError) and _is_disk_full(error.__cause__):
        return False
    return not isinstance(error, _COUNTED_ERRORS)


def _is_disk_full(error: BaseException | None) -> bool:
    return getattr(getattr(error, "orig", error), "sqlstate", None) == _DISK_FULL
