"""The command ``status``: what is loaded, what is behind, what is failed or parked, in one screen.

A problem is what needs a person; its name is that of the alert rule in ``deploy/prometheus/alerts.yaml``.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta

import click
from sqlalchemy import Connection

from twap_pipeline.cli.context import database
from twap_pipeline.cli.dagster_instance import InstanceState, has_instance, read_instance_state
from twap_pipeline.cli.pipeline_metrics import days_to_be_loaded
from twap_pipeline.cli.tables import print_table
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.errors import TwapPipelineError
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.storage.engine.url import redacted_url
from twap_pipeline.storage.reports.pipeline_state import (
    LoadedObjects,
    PipelineState,
    UnloadedObject,
    loaded_objects,
    missing_days,
    read_pipeline_state,
    unloaded_objects,
)
from twap_pipeline.storage.schema.revision_gate import require_head

FEED_LAG_MAX = timedelta(hours=30)
"""Maximum age of the newest event. With one load per day it is up to 25 hours; the alert rule is for sensors."""

FILLS_LAG_MAX = timedelta(hours=48)
"""Maximum age of the newest fill. A day is published around 10:00 UTC of the next day, so that it is up to 35 hours."""

RETRY_PERIOD = timedelta(hours=1)
"""Within this time, sensors load a failed object again and refresh the orders of a loaded object."""

PRINTED_OBJECTS = 5
PRINTED_DAYS = 5
JSON_OBJECTS = 1_000


@dataclass(frozen=True, slots=True)
class Problem:
    """What needs a person: the name of the alert, what is wrong, and what to do."""

    name: str
    message: str
    action: str


@dataclass(frozen=True, slots=True)
class FillsStatus:
    """The state of the fills; the fields are those of `Status`."""

    loaded: LoadedObjects
    state: PipelineState
    missing_days: Sequence[date]


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` prints; the fields of its JSON output. ``fills`` is None if the fills have no source."""

    database: str
    schema_revision: str
    loaded: LoadedObjects
    state: PipelineState
    missing_days: Sequence[date]
    fills: FillsStatus | None
    unloaded: Sequence[UnloadedObject]
    dagster: InstanceState | None
    dagster_error: str | None
    problems: Sequence[Problem]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def status(as_json: bool) -> None:
    """Show what is loaded, what is behind, and what failed. Reads only; sends no request to the source.

    Exit status 1 means that something needs a person.
    """
    result = read_status(load_settings(), datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(asdict(result), default=lambda value: value.isoformat()))
    else:
        print_status(result, datetime.now(UTC))
    raise SystemExit(1 if result.problems else 0)


def read_status(settings: Settings, now: datetime) -> Status:
    """Return the status.

    Raises:
        DatabaseUnavailableError: The database cannot be used.
        SchemaRevisionError: The database is not at the head of this code.
    """
    with database(settings) as (engine, url):
        revision = require_head(engine).head
        with engine.connect() as connection:
            loaded = loaded_objects(connection)
            state = read_pipeline_state(connection)
            days = missing_days(connection, *days_to_be_loaded(settings))
            fills = _read_fills(settings, connection)
            unloaded = unloaded_objects(connection, JSON_OBJECTS)
        place = redacted_url(url)
    dagster = error = None
    if has_instance(settings):
        try:
            dagster = read_instance_state(settings)
        except TwapPipelineError as unavailable:
            error = str(unavailable)
    problems = [
        *data_problems(state, days, now, feed_ends=settings.end_date is not None),
        *dagster_problems(dagster, error),
    ]
    if fills is not None:
        feed_ends = settings.fills_end_date is not None
        problems += data_problems(fills.state, fills.missing_days, now, TWAP_FILLS, feed_ends=feed_ends)
    return Status(place, revision, loaded, state, days, fills, unloaded, dagster, error, problems)


def _read_fills(settings: Settings, connection: Connection) -> FillsStatus | None:
    if settings.resolved_fills_url is None:
        return None
    days = missing_days(connection, *days_to_be_loaded(settings, TWAP_FILLS), TWAP_FILLS)
    return FillsStatus(loaded_objects(connection, TWAP_FILLS), read_pipeline_state(connection, TWAP_FILLS), days)


def data_problems(
    state: PipelineState,
    days: Sequence[date],
    now: datetime,
    data_set: DataSet = TWAP_STATUS,
    *,
    feed_ends: bool,
) -> Iterator[Problem]:
    """Yield the problems of a data set; ``feed_ends`` if its source gets no new objects, such as the sample."""
    is_fills = data_set == TWAP_FILLS
    row, of_data_set = ("fill", f" of {data_set.name}") if is_fills else ("event", "")
    ingest = f"twap-pipeline ingest --data-set {data_set.name}" if is_fills else "twap-pipeline ingest"
    sensor = "new_twap_fills" if is_fills else "new_twap_objects"
    lag_max = FILLS_LAG_MAX if is_fills else FEED_LAG_MAX
    if state.newest_event_at is None:
        yield Problem("TwapFeedLags", f"no {row} is loaded", f"run `{ingest}`")
    elif not feed_ends and now - state.newest_event_at > lag_max:
        yield Problem(
            "TwapFeedLags",
            f"the newest {row} is {format_age(now - state.newest_event_at)} old",
            f"run `{ingest} --dry-run`: if it finds objects, check the sensors and schedules below",
        )
    if state.parked:
        yield Problem(
            "TwapObjectsParked",
            f"objects{of_data_set} that failed three times and are not loaded again: {state.parked}",
            f"correct the cause, then run `{ingest} --object-key KEY` or the job retry_parked_objects",
        )
    if state.failed_since is not None and now - state.failed_since > RETRY_PERIOD:
        yield Problem(
            "TwapObjectsFailed",
            f"failed objects{of_data_set}: {state.failed}, the oldest not loaded again for"
            f" {format_age(now - state.failed_since)}",
            f"run `{ingest}`, or switch on the sensor {sensor}",
        )
    if state.orders_pending_since is not None and now - state.orders_pending_since > RETRY_PERIOD:
        yield Problem(
            "TwapOrdersPending",
            f"objects whose events twap_orders does not include: {state.orders_pending}",
            "run `twap-pipeline ingest`, or switch on the sensor stale_twap_orders",
        )
    if days:
        yield Problem(
            "TwapDaysMissing",
            f"days{of_data_set} without a loaded object: {len(days)}",
            f"run `{ingest} --start {days[0]} --end {days[-1] + timedelta(days=1)}`; a day that the source"
            " does not have stays missing",
        )


def dagster_problems(dagster: InstanceState | None, error: str | None) -> Iterator[Problem]:
    """Yield the problems of the Dagster instance; ``error`` is the reason why it cannot be read."""
    if error is not None:
        yield Problem("TwapMetricsMissing", "the Dagster instance cannot be read", error)
    if dagster is None:
        return
    for job in dagster.jobs:
        if job.has_failed:
            yield Problem(
                "TwapRunsFailed",
                f"the last run of {job.job_name} failed at {job.last_failure_at:%Y-%m-%d %H:%M:%S}",
                "open it in the web UI: the failure text contains what to do",
            )
    if dead := [daemon for daemon in dagster.daemons if not daemon.is_healthy]:
        yield Problem(
            "TwapDaemonDown",
            f"no heartbeat of {', '.join(daemon.daemon.lower() for daemon in dead)} since"
            f" {min(daemon.heartbeat_at for daemon in dead):%Y-%m-%d %H:%M:%S}",
            "start `dagster-daemon run`; where no daemon shall run, `dagster-daemon wipe` removes the heartbeats",
        )


def print_status(result: Status, now: datetime) -> None:
    """Print the status; times are UTC."""
    loaded, state = result.loaded, result.state
    lines = [
        ("database", f"{result.database}, schema at head {result.schema_revision}"),
        ("loaded", _loaded_text(loaded)),
        ("newest event", _time_text(state.newest_event_at, now)),
        ("newest object", _time_text(state.newest_object_at, now)),
        ("last load", _time_text(state.last_load_at, now)),
        ("missing days", _days_text(result.missing_days)),
        ("not loaded", f"{state.failed} failed objects, {state.parked} parked objects"),
        ("orders behind", f"{state.orders_pending} objects"),
        *_fills_lines(result.fills, now),
        ("dagster", _dagster_text(result)),
    ]
    for name, value in lines:
        click.echo(f"{name:<14} {value}")
    if result.unloaded:
        click.echo()
        rows = [
            (item.s3_object_key, "parked" if item.is_parked else "failed", item.failed_attempts, item.error_text)
            for item in result.unloaded[:PRINTED_OBJECTS]
        ]
        print_table(["object", "state", "attempts", "reason"], rows)
        states = [state, *([result.fills.state] if result.fills else [])]
        if more := sum(item.failed + item.parked for item in states) - len(rows):
            click.echo(f"and {more} more")
    if result.dagster is not None:
        _print_instance(result.dagster, now)
    click.echo()
    for problem in result.problems:
        click.echo(f"{problem.name}: {problem.message}\n  {problem.action}")
    if not result.problems:
        click.echo("nothing needs a person")


def _fills_lines(fills: FillsStatus | None, now: datetime) -> list[tuple[str, str]]:
    if fills is None:
        return [("fills", "no source: TWAP_FILLS_URL is not set")]
    return [
        ("fills", _loaded_text(fills.loaded, "fills")),
        ("newest fill", _time_text(fills.state.newest_event_at, now)),
        ("missing fills", _days_text(fills.missing_days)),
        ("fills failed", f"{fills.state.failed} failed objects, {fills.state.parked} parked objects"),
    ]


def _print_instance(dagster: InstanceState, now: datetime) -> None:
    if dagster.jobs:
        click.echo()
        print_table(
            ["job", "last success", "last failure"],
            [(job.job_name, _ago(job.last_success_at, now), _ago(job.last_failure_at, now)) for job in dagster.jobs],
        )
    click.echo()
    print_table(
        ["sensor or schedule", "state", "last tick", "result"],
        [
            (item.name, "on" if item.is_running else "off", _ago(item.last_tick_at, now), item.last_tick)
            for item in dagster.automation
        ],
    )


def _loaded_text(loaded: LoadedObjects, rows: str = "events") -> str:
    if not loaded.objects:
        return "nothing"
    return (
        f"{loaded.events:,} {rows} from {loaded.objects:,} objects of {loaded.days:,} days"
        f" ({loaded.first_day} to {loaded.last_day})"
    )


def _days_text(days: Sequence[date]) -> str:
    if not days:
        return "none"
    more = f" and {len(days) - PRINTED_DAYS} more" if len(days) > PRINTED_DAYS else ""
    return ", ".join(map(str, days[:PRINTED_DAYS])) + more


def _dagster_text(result: Status) -> str:
    if result.dagster_error is not None:
        return "unavailable"
    if result.dagster is None:
        return "no instance: no command has created one, and DAGSTER_HOME is not set"
    if not result.dagster.daemons:
        return "no daemon has run"
    return "daemons run" if all(daemon.is_healthy for daemon in result.dagster.daemons) else "daemons do not run"


def _time_text(timestamp: datetime | None, now: datetime) -> str:
    return "none" if timestamp is None else f"{timestamp.astimezone(UTC):%Y-%m-%d %H:%M:%S} ({_ago(timestamp, now)})"


def _ago(timestamp: datetime | None, now: datetime) -> str | None:
    return None if timestamp is None else f"{format_age(now - timestamp)} ago"


def format_age(age: timedelta) -> str:
    """Return a duration in its two largest units: ``2 d 3 h``, ``3 h 5 min``, ``5 min``, or ``less than 1 min``."""
    minutes = max(0, int(age.total_seconds())) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else "less than 1 min"
