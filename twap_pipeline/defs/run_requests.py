"""Decides which runs a sensor requests: one per pending partition, limited per batch and by the day's byte budget.

A batch is requested again after a failed run, at most `MAX_RUNS_PER_BATCH` times within `RETRY_WINDOW`. A run that must
wait for the byte budget of the next day is not requested. What is pending is decided in `sensors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from twap_pipeline.defs.event_log import PARTITION_NAME_TAG
from twap_pipeline.defs.lost_runs import LOST_TAG
from twap_pipeline.defs.partitions import range_tags
from twap_pipeline.defs.uncounted_runs import REFUSED_TAG

REQUESTS_PER_TICK = 20
"""Maximum runs that a tick requests; the next ticks request further ones."""

MAX_RUNS_PER_BATCH = 3
"""Maximum runs for the same batch of pending objects within `RETRY_WINDOW`."""

RETRY_WINDOW = timedelta(hours=24)
"""After this time a batch is retried, because its failures may have had another cause than the objects."""

BATCH_FINGERPRINT_TAG = "twap/batch_fingerprint"
ATTEMPT_TAG = "twap/attempt"

UNCOUNTED_RETRY_WINDOW = timedelta(hours=1)
"""After this time a batch is retried whose runs were refused, lost or never started: the objects are not the cause."""


@dataclass(frozen=True, slots=True)
class PendingWork:
    """A partition with objects to ingest, or a range of partitions with orders to refresh.

    Args:
        day: The partition, or the first one of the range.
        fingerprint: Identifies the batch of pending work. It changes with the pending objects, their failed attempts
            and their requeues, so that the run limit applies per batch.
        size_bytes: Size of the pending objects.
        last: The last partition of the range; None for a single partition.
    """

    day: date
    fingerprint: str
    size_bytes: int = 0
    last: date | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Tags that all runs of this batch share."""
        partition = {PARTITION_NAME_TAG: self.day.isoformat()} if self.last is None else range_tags(self.day, self.last)
        return {**partition, BATCH_FINGERPRINT_TAG: self.fingerprint}


def build_sensor_result(
    instance: dg.DagsterInstance,
    pending: Sequence[PendingWork],
    *,
    skip_message: str,
    cursor: str | None = None,
    resume_cursors: Mapping[date, str] | None = None,
    max_bytes_per_day: int | None = None,
    read_today_bytes: int = 0,
) -> dg.SensorResult:
    """Request a run per pending partition, unless a run is in progress or a run limit or the day's budget is reached.

    Args:
        instance: The instance with the runs so far.
        pending: The pending partitions.
        skip_message: Skip reason if nothing is pending.
        cursor: Cursor of the next tick.
        resume_cursors: Cursor of the next tick per partition that exceeds `REQUESTS_PER_TICK`.
        max_bytes_per_day: Limit of the object bytes that all runs of this UTC day read; None for no limit.
        read_today_bytes: Bytes that were read on this UTC day. The bytes of each requested run are added.
    """
    requests: list[dg.RunRequest] = []
    in_progress = exhausted = deferred = 0
    runs_by_fingerprint = _find_runs(instance, pending)
    for partition in pending:
        runs = [
            run
            for run in runs_by_fingerprint.get(partition.fingerprint, [])
            if partition.tags.items() <= run.dagster_run.tags.items()
        ]
        if any(not run.dagster_run.is_finished for run in runs):
            in_progress += 1
        elif max_bytes_per_day is not None and (
            partition.size_bytes <= max_bytes_per_day < partition.size_bytes + read_today_bytes
        ):
            deferred += 1  # fits into the budget of the next day
        elif _is_exhausted(runs):
            exhausted += 1
        elif len(requests) == REQUESTS_PER_TICK:
            cursor = (resume_cursors or {}).get(partition.day, cursor)
            break
        else:
            attempt = len(runs) + 1
            request = dg.RunRequest(
                run_key=f"{partition.day}:{partition.fingerprint}:{attempt}",
                partition_key=partition.day.isoformat() if partition.last is None else None,
                tags={**partition.tags, ATTEMPT_TAG: str(attempt)},
            )
            requests.append(request)
            read_today_bytes += partition.size_bytes
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=cursor)
    if pending:
        skip_message = f"{len(pending)} pending partitions: {in_progress} in progress, {exhausted} exhausted retries"
        skip_message += f", {deferred} deferred by TWAP_MAX_BYTES_PER_DAY" if deferred else ""
    return dg.SensorResult(skip_reason=skip_message, cursor=cursor)


def _find_runs(instance: dg.DagsterInstance, pending: Sequence[PendingWork]) -> Mapping[str, Sequence[dg.RunRecord]]:
    """Return batch fingerprint → all its runs, by one query that uses Dagster's index on tags."""
    runs: dict[str, list[dg.RunRecord]] = {}
    if fingerprints := [partition.fingerprint for partition in pending]:
        for run in instance.get_run_records(dg.RunsFilter(tags={BATCH_FINGERPRINT_TAG: fingerprints})):
            runs.setdefault(run.dagster_run.tags[BATCH_FINGERPRINT_TAG], []).append(run)
    return runs


def _is_exhausted(runs: Sequence[dg.RunRecord]) -> bool:
    """Return whether these runs reach the run limit. A run that did not try its objects counts for an hour only."""
    now = datetime.now(UTC)
    recent = [run for run in runs if run.create_timestamp > now - RETRY_WINDOW]
    uncounted = [run for run in recent if _is_uncounted(run)]
    very_recent = [run for run in uncounted if run.create_timestamp > now - UNCOUNTED_RETRY_WINDOW]
    return max(len(recent) - len(uncounted), len(very_recent)) >= MAX_RUNS_PER_BATCH


def _is_uncounted(run: dg.RunRecord) -> bool:
    """Return whether a run is no attempt at its objects: it was refused or lost, or never started."""
    tags = run.dagster_run.tags
    return run.start_time is None or REFUSED_TAG in tags or LOST_TAG in tags
