"""Alerts: a sensor that compares what is wrong now with what it has sent, and sends the difference.

A problem has a kind and an item, such as a failed partition. It is sent once per receiver, and its end is sent once.
The cursor stores the sent problems per receiver, so that a receiver that does not respond gets them at a later tick.
How messages are sent belongs to `notifier`.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

import dagster as dg

from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.data_sets import STATUS_FRESHNESS, DataSetDefinition
from twap_pipeline.defs.event_log import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    FINISHED_STATUSES,
    IMPLICIT_ASSET_JOB_NAME,
    PARTITION_NAME_TAG,
    AssetPartitionStatus,
    TimeWindowFreshnessPolicy,
    failed_checks,
    failure_text,
    partition_statuses,
)
from twap_pipeline.defs.jobs import INGEST_FILLS_JOB, INGEST_JOB
from twap_pipeline.defs.notifier import Target, open_targets
from twap_pipeline.defs.resources import DatabaseResource
from twap_pipeline.defs.texts import data_set_option, shorten
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS
from twap_pipeline.errors import ConfigurationError, DatabaseUnavailableError, SchemaRevisionError
from twap_pipeline.logs import redact_wallets

ALERTS_INTERVAL_SECONDS = 60
"""Interval of ``alerts``. A tick reads Dagster's storage and runs one query."""

_PARKED_CHECKS = ("no_parked_objects", "no_parked_fill_objects")
_SEARCHED_RUNS = 100
_ITEMS_MAX = 10
_PARKED_MAX = 1_000
_CHARACTERS_MAX = 1_000


class Kind(StrEnum):
    """Kinds of problems, in the order of messages. The value is the heading of the runbook that describes the kind."""

    DATABASE = "Database unavailable"
    PARTITION = "Failed partition"
    PARKED = "Parked object"
    CHECK = "Failed asset check"
    JOB = "Failed job"
    OVERDUE = "Overdue asset"


_COMMANDS = {
    Kind.DATABASE: "twap-pipeline check",
    Kind.PARTITION: "twap-pipeline ingest{}",
    Kind.PARKED: "twap-pipeline ingest{} --object-key KEY",
    Kind.CHECK: "twap-pipeline audit{}",
    Kind.JOB: "twap-pipeline check",
    Kind.OVERDUE: "twap-pipeline ingest{} --dry-run",
}
"""What to run after the cause is corrected, or to find the cause; ``{}`` is the option that selects the data set."""


class Problem(NamedTuple):
    """What is wrong: a kind, the partition, object, check, job or asset, and the name of its data set."""

    kind: Kind
    item: str
    data_set: str = TWAP_STATUS.name

    def __str__(self) -> str:
        """Return the text that the cursor stores."""
        return f"{self.kind}: {self.item}"


@dataclass
class State:
    """What is wrong at one time.

    Args:
        problems: Problem → its text, or None if the text is read when the problem is sent.
        unknown: Prefixes of the texts of problems that cannot be evaluated now: they are neither new nor over.
    """

    problems: dict[Problem, str | None] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def build_alerts_sensor(
    catalog: AssetCatalog,
    data_sets: Sequence[DataSetDefinition],
    check_keys: Sequence[dg.AssetCheckKey],
    job_names: Sequence[str],
) -> dg.SensorDefinition:
    """Return the sensor that sends alerts. It is running by default and does nothing without TWAP_ALERT_URLS.

    ``job_names`` are the jobs whose failed run is a problem. A failed ingest run is reported by its partitions.
    """
    checks = [key for key in check_keys if key.name not in _PARKED_CHECKS]  # a parked object is a problem of its own

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=ALERTS_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Sends failed partitions, jobs and asset checks, overdue assets, parked objects and an unavailable database"
            " to TWAP_ALERT_URLS: each once, and once when it is over. Skips if the setting is unset."
        ),
    )
    def alerts(context: dg.SensorEvaluationContext, database: dg.ResourceParam[DatabaseResource]) -> dg.SensorResult:
        if database.settings.alert_urls is None:
            return dg.SensorResult(skip_reason="TWAP_ALERT_URLS is not set")
        state = State()
        _add_database_problems(state, database)
        for definition in data_sets:
            _add_failed_partitions(state, context.instance, definition)
            _add_overdue_asset(state, context.instance, definition.table_key, definition.freshness)
        _add_failed_checks(state, context.instance, checks)
        _add_failed_jobs(state, context.instance, job_names)
        for key in (catalog.orders_key, catalog.daily_stats_key):
            _add_overdue_asset(state, context.instance, key, STATUS_FRESHNESS)
        targets = open_targets(database.settings.alert_urls)
        sent, errors = _send_changes(context.instance, targets, state, json.loads(context.cursor or "{}"))
        if len(errors) == len(sent):  # nothing was sent, so that nothing is lost if the tick fails
            raise ConfigurationError("; ".join(errors))
        summary = "; ".join(errors) or f"{len(state.problems)} problems, all sent"
        return dg.SensorResult(skip_reason=summary, cursor=json.dumps(sent))

    return alerts


def _add_database_problems(state: State, database: DatabaseResource) -> None:
    from twap_pipeline.storage.reports.pipeline_state import unloaded_objects

    try:
        with database.engine_at_head() as engine, engine.connect() as connection:
            unloaded = unloaded_objects(connection, _PARKED_MAX)
    except (DatabaseUnavailableError, SchemaRevisionError) as error:
        state.problems[Problem(Kind.DATABASE, "DATABASE_URL")] = str(error)
        state.unknown.append(f"{Kind.PARKED}: ")
    else:
        for entry in unloaded:
            if entry.is_parked:
                item = _item_of_data_set(entry.s3_object_key, entry.data_set)
                state.problems[Problem(Kind.PARKED, item, entry.data_set)] = entry.error_text


def _add_failed_partitions(state: State, instance: dg.DagsterInstance, definition: DataSetDefinition) -> None:
    """Add the failed partitions. A partition that a run is loading is unknown."""
    name = definition.data_set.name
    for day, status in partition_statuses(instance, definition.table_key, definition.partitions).items():
        problem = Problem(Kind.PARTITION, _item_of_data_set(day, name), name)
        if status == AssetPartitionStatus.FAILED:
            state.problems[problem] = None
        elif status == AssetPartitionStatus.IN_PROGRESS:
            state.unknown.append(str(problem))


def _item_of_data_set(item: str, data_set: str) -> str:
    """Return the item of a partition or object, with the name of the data set unless it is the statuses."""
    return item if data_set == TWAP_STATUS.name else f"{item} of {data_set}"


def _data_set_of_asset(key: dg.AssetKey) -> str:
    """Return the name of the data set from which the asset is loaded or computed."""
    return TWAP_FILLS.name if key.path[-1] == TWAP_FILLS.name else TWAP_STATUS.name


def _add_failed_checks(state: State, instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> None:
    for key, evaluation in failed_checks(instance, keys).items():
        text = f"{evaluation.severity.value}: {evaluation.description or 'its metadata in the web UI has the details'}"
        item = f"{key.asset_key.path[-1]}.{key.name}"
        state.problems[Problem(Kind.CHECK, item, _data_set_of_asset(key.asset_key))] = text


def _add_failed_jobs(state: State, instance: dg.DagsterInstance, job_names: Sequence[str]) -> None:
    """Add the jobs whose last run that has ended failed."""
    for name in job_names:
        runs = instance.get_runs(dg.RunsFilter(job_name=name, statuses=FINISHED_STATUSES), limit=1)
        if runs and runs[0].status == dg.DagsterRunStatus.FAILURE:
            state.problems[Problem(Kind.JOB, name)] = None


def _add_overdue_asset(
    state: State, instance: dg.DagsterInstance, key: dg.AssetKey, freshness: TimeWindowFreshnessPolicy
) -> None:
    """Add the asset if its last materialization is older than its freshness policy allows."""
    event = instance.get_latest_materialization_event(key)
    if event is None:
        return
    time, overdue_after = datetime.fromtimestamp(event.timestamp, UTC), freshness.fail_window.to_timedelta()
    if time < datetime.now(UTC) - overdue_after:
        text = (
            f"last materialization at {time:%Y-%m-%d %H:%M} UTC, limit {overdue_after.total_seconds() / 3600:.0f} hours"
        )
        state.problems[Problem(Kind.OVERDUE, key.path[-1], _data_set_of_asset(key))] = text


def _send_changes(
    instance: dg.DagsterInstance, targets: Sequence[Target], state: State, sent: Mapping[str, Sequence[str]]
) -> tuple[dict[str, list[str]], list[str]]:
    """Send to each receiver what it does not know yet.

    Returns:
        Name of the receiver → texts of the problems that it knows, and an error per receiver that failed.
    """
    current = {str(problem) for problem in state.problems}
    known_by_target: dict[str, list[str]] = {}
    errors = []
    for target in targets:
        known = set(sent.get(target.name, []))
        new = {problem: text for problem, text in state.problems.items() if str(problem) not in known}
        over = sorted(text for text in known - current if not text.startswith(tuple(state.unknown)))
        known_by_target[target.name] = sorted(known)
        if not new and not over:
            continue
        try:
            target.send(*compose(describe(instance, new), over))
        except ConfigurationError as error:
            errors.append(str(error))
        else:
            known_by_target[target.name] = sorted((known | current) - set(over))
    return known_by_target, errors


def describe(instance: dg.DagsterInstance, texts: Mapping[Problem, str | None]) -> dict[Problem, str]:
    """Return problem → text. The text of a failed partition or job is the failure text of its last failed run."""
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    runs = instance.get_runs(filters, limit=_SEARCHED_RUNS)

    def read(problem: Problem) -> str:
        run = next((run for run in runs if _has_failed_in(run, problem)), None)
        return f"run {run.run_id}: {failure_text(instance, run.run_id)}" if run else "see its last run"

    return {problem: read(problem) if text is None else text for problem, text in texts.items()}


def _has_failed_in(run: dg.DagsterRun, problem: Problem) -> bool:
    if problem.kind == Kind.JOB:
        return run.job_name == problem.item
    if run.job_name == IMPLICIT_ASSET_JOB_NAME:
        assets = {key.path[-1] for key in run.asset_selection or ()}
        is_of_data_set = not assets or problem.data_set in assets
    else:
        is_of_data_set = run.job_name == (INGEST_FILLS_JOB if problem.data_set == TWAP_FILLS.name else INGEST_JOB)
    day = run.tags.get(PARTITION_NAME_TAG, "")
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, day)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, day)
    return is_of_data_set and first <= problem.item.split()[0] <= last


def compose(described: Mapping[Problem, str], over: Collection[str]) -> tuple[str, str]:
    """Return title and body of a message: the new problems by kind, what to do, and the problems that are over."""
    counts = [f"{len(described)} new" if described else "", f"{len(over)} over" if over else ""]
    paragraphs = []
    for kind in Kind:
        items_by_text: dict[str, list[str]] = defaultdict(list)
        for problem, text in described.items():
            if problem.kind == kind:
                items_by_text[shorten(redact_wallets(text), _CHARACTERS_MAX)].append(problem.item)
        lines = [f"{_join(items)}: {text}" for text, items in items_by_text.items()]
        if lines:
            more = [f"and {len(lines) - _ITEMS_MAX} more"] if len(lines) > _ITEMS_MAX else []
            data_sets = dict.fromkeys(problem.data_set for problem in described if problem.kind == kind)
            commands = dict.fromkeys(_COMMANDS[kind].format(data_set_option(name)) for name in data_sets)
            action = f"To do: docs/how-to/runbook.md#{kind.lower().replace(' ', '-')}, command: {'; '.join(commands)}"
            paragraphs.append("\n".join([kind.upper(), *lines[:_ITEMS_MAX], *more, action]))
    if over:
        paragraphs.append(f"OVER\n{_join(list(over))}")
    return f"twap_pipeline: problems: {', '.join(filter(None, counts))}", "\n\n".join(paragraphs)


def _join(items: Sequence[str]) -> str:
    more = f", and {len(items) - _ITEMS_MAX} more" if len(items) > _ITEMS_MAX else ""
    return ", ".join(items[:_ITEMS_MAX]) + more
