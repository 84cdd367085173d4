"""The pipeline's metrics for Prometheus, from the ingest log and the Dagster instance.

Both survive restarts, and so do the metrics: a counter continues where it was. Add a metric here if it describes the
pipeline; the API's own metrics are in `api.metrics`. Names follow Prometheus's conventions: base units as suffixes, and
``_total`` for what never decreases.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from twap_pipeline.cli.dagster_instance import InstanceState, has_instance, read_instance_state
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.errors import TwapPipelineError
from twap_pipeline.settings import Settings
from twap_pipeline.source.s3_pricing import get_cost_usd
from twap_pipeline.storage.engine.engine import translate_connection_errors
from twap_pipeline.storage.reports.pipeline_state import (
    AttemptTotals,
    PipelineState,
    attempt_totals,
    missing_days,
    read_pipeline_state,
)
from twap_pipeline.storage.schema.models import PHASES
from twap_pipeline.storage.schema.revision_gate import RevisionStatus, read_revision

CACHE_SECONDS = 10.0
"""Scrapes within this time get the same values, so that several scrapers cost as much as one."""

STATEMENT_TIMEOUT_SECONDS = 60

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger(__name__)


class PipelineCollector(Collector):
    """Reads the metrics at a scrape. A source that cannot be read is 0 in ``twap_metrics_up``, and has no metrics.

    The totals of past UTC days are read once: after the first scrape, a scrape reads the attempts since yesterday.

    Args:
        engine: The database.
        url: Its URL, for errors.
        settings: They determine the first partition and the Dagster instance.
    """

    def __init__(self, engine: Engine, url: URL, settings: Settings) -> None:
        self._engine = engine
        self._url = url
        self._settings = settings
        self._totals_by_day: dict[str, dict[date, AttemptTotals]] = {}
        self._families: list[Metric] = []
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Return all metrics; not older than `CACHE_SECONDS`."""
        with self._lock:
            if time.monotonic() - self._read_at >= CACHE_SECONDS:
                self._families = list(self._read())
                self._read_at = time.monotonic()
            return self._families

    def _read(self) -> Iterator[Metric]:
        up = up_family()
        try:
            families = self._read_database()
        except (SQLAlchemyError, TwapPipelineError) as error:
            _log.warning("metrics of the database: %s", _in_one_line(error))
            families = []
        up.add_metric(["database"], bool(families))
        yield from families
        if has_instance(self._settings):
            try:
                instance: InstanceState | None = read_instance_state(self._settings)
            except TwapPipelineError as error:
                _log.warning("metrics of Dagster: %s", error)
                instance = None
            up.add_metric(["dagster"], instance is not None)
            if instance is not None:
                yield from instance_families(instance)
        yield up

    def _read_database(self) -> list[Metric]:
        with translate_connection_errors(self._url), self._engine.connect() as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            timeout = text("SELECT set_config('statement_timeout', :timeout, true)")
            connection.execute(timeout, {"timeout": f"{STATEMENT_TIMEOUT_SECONDS}s"})
            revision = read_revision(connection)
            data_sets = loaded_data_sets(self._settings)
            states = {
                data_set.name: (
                    read_pipeline_state(connection, data_set),
                    len(missing_days(connection, *days_to_be_loaded(self._settings, data_set), data_set)),
                )
                for data_set in data_sets
            }
            totals = {data_set.name: self._totals(connection, data_set) for data_set in data_sets}
            return [*state_families(states), revision_family(revision), *attempt_families(totals)]

    def _totals(self, connection: Connection, data_set: DataSet) -> AttemptTotals:
        """Return the totals of all attempts of a data set.

        A day is final when the next day has ended, also for long transactions.
        """
        start_of_yesterday = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), datetime.min.time(), UTC)
        by_day = self._totals_by_day.setdefault(data_set.name, {})
        by_day.update(attempt_totals(connection, start_of_yesterday if by_day else _EPOCH, data_set))
        return sum(by_day.values(), AttemptTotals())


def days_to_be_loaded(settings: Settings, data_set: DataSet = TWAP_STATUS) -> tuple[date, date]:
    """Return the first and last UTC day that must have a loaded object.

    Today's first object may not exist yet. The vendor publishes a day of fills during the next day.
    """
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    if data_set == TWAP_FILLS:
        last = yesterday - timedelta(days=1)
        return settings.fills_start_date, min(settings.fills_end_date or last, last)
    return settings.start_date, min(settings.end_date or yesterday, yesterday)


def loaded_data_sets(settings: Settings) -> list[DataSet]:
    """Return the data sets that have a source."""
    return [TWAP_STATUS] if settings.resolved_fills_url is None else [TWAP_STATUS, TWAP_FILLS]


def up_family() -> GaugeMetricFamily:
    """Return the metric of which sources could be read, without samples."""
    return GaugeMetricFamily("twap_metrics_up", "1 if the source of the metrics could be read.", labels=["source"])


def state_families(states: Mapping[str, tuple[PipelineState, int]]) -> Iterator[Metric]:
    """Yield the metrics of what is not done, and of how new the data are.

    Args:
        states: Name of a data set → its state, and the number of its missing days.
    """
    objects = GaugeMetricFamily("twap_objects", "Objects that are not done, by state.", labels=["data_set", "state"])
    days = GaugeMetricFamily(
        "twap_days_missing",
        "UTC days without a loaded object, from the first partition to the last day that must have one.",
        labels=["data_set"],
    )
    newest_event = GaugeMetricFamily(
        "twap_newest_event_timestamp_seconds", "Time of the newest loaded event or fill.", labels=["data_set"]
    )
    newest_object = GaugeMetricFamily(
        "twap_newest_object_timestamp_seconds", "LastModified of the newest loaded object.", labels=["data_set"]
    )
    last_load = GaugeMetricFamily(
        "twap_last_load_timestamp_seconds", "Time at which an object was loaded last.", labels=["data_set"]
    )
    for name, (state, days_missing) in states.items():
        objects.add_metric([name, "failed"], state.failed)
        objects.add_metric([name, "parked"], state.parked)
        if name == TWAP_STATUS.name:
            objects.add_metric([name, "orders_pending"], state.orders_pending)
        days.add_metric([name], days_missing)
        for family, timestamp in (
            (newest_event, state.newest_event_at),
            (newest_object, state.newest_object_at),
            (last_load, state.last_load_at),
        ):
            if timestamp is not None:
                family.add_metric([name], timestamp.timestamp())
    yield from (objects, days, newest_event, newest_object, last_load)


def revision_family(revision: RevisionStatus) -> InfoMetricFamily:
    """Return the metric of the version of the code, and of the revisions of database and code."""
    info = {
        "version": version("twap-pipeline"),
        "schema_revision": ", ".join(revision.current),
        "schema_head": revision.head,
    }
    return InfoMetricFamily("twap_pipeline", "Version of the code, and revisions of the database and the code.", info)


def attempt_families(totals_by_name: Mapping[str, AttemptTotals]) -> Iterator[Metric]:
    """Yield the counters of all attempts to load an object.

    Args:
        totals_by_name: Name of a data set → its totals.
    """
    loads = CounterMetricFamily(
        "twap_load_attempts", "Attempts to load an object, by outcome.", labels=["data_set", "outcome"]
    )
    rows = CounterMetricFamily("twap_rows", "Rows of loaded objects, by outcome.", labels=["data_set", "outcome"])
    fetched = CounterMetricFamily("twap_fetched_bytes", "Bytes received from the source.", labels=["data_set"])
    cost = CounterMetricFamily(
        "twap_fetch_cost_usd",
        "Estimated cost of GET requests and transfer from S3, at list prices outside the region; without LIST.",
        labels=["data_set"],
    )
    seconds = CounterMetricFamily(
        "twap_load_phase_seconds", "Seconds of the phases of attempts.", labels=["data_set", "phase"]
    )
    for name, totals in totals_by_name.items():
        loads.add_metric([name, "loaded"], totals.loaded)
        loads.add_metric([name, "failed"], totals.failed)
        for outcome, count in totals.row_counts.as_dict().items():
            rows.add_metric([name, outcome], count)
        fetched.add_metric([name], totals.bytes_fetched)
        cost.add_metric([name], get_cost_usd(totals.s3_fetches, totals.s3_bytes_fetched))
        for phase, duration in zip(PHASES, totals.phase_seconds, strict=True):
            seconds.add_metric([name, phase], duration)
    yield from (loads, rows, fetched, cost, seconds)


def instance_families(instance: InstanceState) -> Iterator[Metric]:
    """Yield the metrics of the Dagster instance."""
    success = GaugeMetricFamily(
        "twap_job_last_success_timestamp_seconds", "End of the last successful run of a job.", labels=["job_name"]
    )
    failure = GaugeMetricFamily(
        "twap_job_last_failure_timestamp_seconds", "End of the last failed run of a job.", labels=["job_name"]
    )
    for job in instance.jobs:
        if job.last_success_at is not None:
            success.add_metric([job.job_name], job.last_success_at.timestamp())
        if job.last_failure_at is not None:
            failure.add_metric([job.job_name], job.last_failure_at.timestamp())
    heartbeat = GaugeMetricFamily(
        "twap_daemon_heartbeat_timestamp_seconds", "Last heartbeat of a daemon of Dagster.", labels=["daemon"]
    )
    for daemon in instance.daemons:
        heartbeat.add_metric([daemon.daemon.lower()], daemon.heartbeat_at.timestamp())
    running = GaugeMetricFamily(
        "twap_automation_running", "1 if the sensor or schedule is switched on.", labels=["kind", "name"]
    )
    for item in instance.automation:
        running.add_metric([item.kind, item.name], item.is_running)
    yield from (success, failure, heartbeat, running)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())
