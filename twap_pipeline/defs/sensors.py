"""What starts runs by itself: new or changed objects; and what tells people of a run that failed.

The ledger decides what is new. A sensor's cursor only remembers where a long listing was left off: nothing is
consumed until a run has loaded it, so a run that fails is simply asked for again, a bounded number of times.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from twap_pipeline.defs.assets import SOURCE_KEY
from twap_pipeline.defs.event_log import record_source_days
from twap_pipeline.defs.jobs import INGEST_JOB
from twap_pipeline.defs.partitions import group_into_ranges, range_tags
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource
from twap_pipeline.domain.object_ref import ObjectRef, fingerprint
from twap_pipeline.failpoints import failpoint

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from twap_pipeline.storage.ingest_log import IngestLogEntry

KEYS_PER_TICK = 20_000
"""Keys that one tick lists at limit: 20 LIST requests, and two or so more for recent days."""

SECONDS_PER_TICK = 20.0
"""A tick is given up by Dagster after 60 seconds, and nothing of it is kept."""

REQUESTS_PER_TICK = 20
"""Runs that one tick asks for at limit; further days follow at the next ticks."""

MAX_RUNS_PER_BATCH = 3
"""Runs asked for one and the same set of objects of a day within `RETRY_WINDOW`."""

RETRY_WINDOW = timedelta(hours=24)
"""After this a set of objects is tried again by itself: what failed may not have been the objects."""

RECENT_DAYS = 2
"""Today and yesterday are looked at in every tick."""

EVENTS_PER_TICK = 100
"""Days of the source recorded in one tick at limit; each takes some 20 ms."""

ORDERS_INTERVAL_SECONDS = 60
"""Between two looks at the ledger for orders that lag behind; one query, no request to the source."""

BATCH_FINGERPRINT_TAG = "twap/batch_fingerprint"
ATTEMPT_TAG = "twap/attempt"


@dataclass(frozen=True, slots=True)
class PendingPartition:
    """A day with objects to take, or days with orders to refresh.

    Args:
        day: The UTC day, or the first of them.
        content: Fingerprint of what is due; for objects to take, of them and of their failures
            and requeues so far.
        last: The last day of a range that one run takes.
    """

    day: date
    content: str
    last: date | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The tags of every run for it, whichever attempt."""
        days = {PARTITION_NAME_TAG: self.day.isoformat()} if self.last is None else range_tags(self.day, self.last)
        return {**days, BATCH_FINGERPRINT_TAG: self.content}


def build_new_objects_sensor(
    job: "UnresolvedAssetJobDefinition",
    partitions: dg.DailyPartitionsDefinition,
    key_date_patterns: Sequence[str],
    interval_seconds: int,
) -> dg.SensorDefinition:
    """Return the sensor that asks for a run for each day with objects that the ledger does not hold."""

    @dg.sensor(
        name="new_twap_objects",
        job=job,
        minimum_interval_seconds=interval_seconds,
        description="Lists the bucket, compares with etl_s3_ingest_log on (key, ETag), and asks for a run a day.",
    )
    def new_twap_objects(
        context: dg.SensorEvaluationContext, database: DatabaseResource, object_store: ObjectStoreResource
    ) -> dg.SensorResult:
        from twap_pipeline.ingest.incremental_listing import list_days, list_slice
        from twap_pipeline.storage.ingest_log import read_ingest_log

        store = object_store.open()
        with database.engine() as engine, engine.connect() as connection:
            ledger = read_ingest_log(connection)
        seen = list_slice(
            store, context.cursor or "", key_date_patterns, keys_max=KEYS_PER_TICK, seconds_max=SECONDS_PER_TICK
        )
        days = seen.days
        if not seen.is_complete:
            today = datetime.now(UTC).date()
            recent = [today - timedelta(days=back) for back in range(RECENT_DAYS)]
            days = {**list_days(store, recent, _examples(seen.days), key_date_patterns), **days}
        known = {day: refs for day, refs in days.items() if partitions.has_partition_key(day.isoformat())}
        if seen.is_complete:
            # every day is complete only when the whole listing was seen
            record_source_days(context.instance, SOURCE_KEY, store.url, known, limit=EVENTS_PER_TICK)
        asked = _build_sensor_result(
            context.instance,
            pending_partitions(known, ledger),
            nothing="every object listed is loaded, or parked",
            after=seen.next_cursor,
            left_off=seen.resume_after_by_date,
        )
        failpoint("mid-tick")
        return asked

    return new_twap_objects


def build_orders_sensor(
    job: "UnresolvedAssetJobDefinition", partitions: dg.DailyPartitionsDefinition, max_partitions_per_run: int
) -> dg.SensorDefinition:
    """Return the sensor that asks for a refresh where rows came in and the orders were not brought up to them.

    A run takes both in one go; the orders lag behind only when it failed for some object, or died in between.
    """

    @dg.sensor(
        name="stale_twap_orders",
        job=job,
        minimum_interval_seconds=ORDERS_INTERVAL_SECONDS,
        description="Refreshes twap_orders for days whose objects are loaded but not yet taken in, by the ledger.",
    )
    def stale_twap_orders(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SensorResult:
        from twap_pipeline.storage.orders.refresh import dates_pending_refresh

        if context.instance.get_runs_count(dg.RunsFilter(job_name=INGEST_JOB, statuses=_UNDER_WAY)):
            return dg.SensorResult(skip_reason="an ingestion is under way, which refreshes its orders in the end")
        with database.engine() as engine, engine.connect() as connection:
            days = dates_pending_refresh(connection)
        known = {day: content for day, content in days.items() if partitions.has_partition_key(day.isoformat())}
        due = [
            PendingPartition(first, _digest(known, first, last), last)
            for first, last in group_into_ranges(known, max_partitions_per_run)
        ]
        return _build_sensor_result(context.instance, due, nothing="twap_orders are what twap_status says")

    return stale_twap_orders


def _digest(contents: Mapping[date, str], first: date, last: date) -> str:
    joined = " ".join(content for day, content in contents.items() if first <= day <= last)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def pending_partitions(
    days: dict[date, list[ObjectRef]], ledger: "dict[str, IngestLogEntry]"
) -> list[PendingPartition]:
    """Return the days that have something to take, in the order given."""
    from twap_pipeline.ingest.plan import plan

    due = []
    for day, refs in days.items():
        if pending := plan(refs, ledger).pending:
            known = [ledger[ref.key] for ref in pending if ref.key in ledger]
            failures, history = sum(entry.failed_attempts for entry in known), sum(entry.history for entry in known)
            due.append(PendingPartition(day, f"{fingerprint(pending)}-{failures}-{history}"))
    return due


def _build_sensor_result(
    instance: dg.DagsterInstance,
    due: Sequence[PendingPartition],
    *,
    nothing: str,
    after: str | None = None,
    left_off: Mapping[date, str] | None = None,
) -> dg.SensorResult:
    """Ask for a run for each due day, unless one is under way or enough have failed."""
    requests: list[dg.RunRequest] = []
    under_way = given_up = 0
    for one in due:
        earlier = _earlier_runs(instance, one)
        if earlier.under_way:
            under_way += 1
        elif earlier.lately >= MAX_RUNS_PER_BATCH:
            given_up += 1
        elif len(requests) == REQUESTS_PER_TICK:
            after = (left_off or {}).get(one.day, after)
            break
        else:
            requests.append(_request(one, earlier.ever + 1))
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=after)
    waiting = f"{len(due)} days are due: {under_way} have a run under way, {given_up} failed too often"
    return dg.SensorResult(skip_reason=waiting if due else nothing, cursor=after)


class _RunHistory(NamedTuple):
    """Runs for the same content: whether one is queued or running, and how many there were."""

    under_way: bool
    lately: int
    ever: int


def _earlier_runs(instance: dg.DagsterInstance, due: PendingPartition) -> _RunHistory:
    tags = due.tags
    return _RunHistory(
        under_way=instance.get_runs_count(dg.RunsFilter(tags=tags, statuses=_UNDER_WAY)) > 0,
        lately=instance.get_runs_count(dg.RunsFilter(tags=tags, created_after=datetime.now(UTC) - RETRY_WINDOW)),
        ever=instance.get_runs_count(dg.RunsFilter(tags=tags)),
    )


_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
_UNDER_WAY = [status for status in dg.DagsterRunStatus if status not in _ENDED]


def _request(due: PendingPartition, attempt: int) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{due.day}:{due.content}:{attempt}",
        partition_key=due.day.isoformat() if due.last is None else None,
        tags={**due.tags, ATTEMPT_TAG: str(attempt)},
    )


def _examples(days: dict[date, list[ObjectRef]]) -> list[str]:
    return [refs[0].key for refs in days.values()]
