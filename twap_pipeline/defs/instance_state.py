"""What the Dagster instance records about runs, daemons, sensors and schedules, for metrics and ``status``.

Each function reads through the instance and uses its indexes: the cost does not depend on the number of finished runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg


@dataclass(frozen=True, slots=True)
class JobState:
    """The last finished runs of a job; None if there is none."""

    job_name: str
    last_success_at: datetime | None
    last_failure_at: datetime | None

    @property
    def has_failed(self) -> bool:
        """Whether the last finished run failed; a canceled run counts neither way."""
        if self.last_failure_at is None:
            return False
        return self.last_success_at is None or self.last_failure_at > self.last_success_at


@dataclass(frozen=True, slots=True)
class DaemonState:
    """A daemon that the instance needs and that ran at least once."""

    daemon: str
    heartbeat_at: datetime
    is_healthy: bool


@dataclass(frozen=True, slots=True)
class AutomationState:
    """A sensor or schedule.

    Args:
        name: Its name.
        kind: ``sensor`` or ``schedule``.
        is_running: Whether it is switched on.
        last_tick_at: Start of its last tick; None if the instance has none.
        last_tick: Result of its last tick: its error, its skip reason, or the number of runs.
    """

    name: str
    kind: str
    is_running: bool
    last_tick_at: datetime | None = None
    last_tick: str | None = None


def job_states(instance: dg.DagsterInstance, job_names: Sequence[str]) -> list[JobState]:
    """Return the state of the jobs that have a run, in the order of the names."""
    states = [
        JobState(
            name,
            _last_end(instance, name, dg.DagsterRunStatus.SUCCESS),
            _last_end(instance, name, dg.DagsterRunStatus.FAILURE),
        )
        for name in job_names
    ]
    return [state for state in states if state.last_success_at or state.last_failure_at]


def _last_end(instance: dg.DagsterInstance, job_name: str, status: dg.DagsterRunStatus) -> datetime | None:
    records = instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=[status]), limit=1)
    return _utc(records[0].end_time or records[0].update_timestamp.timestamp()) if records else None


def daemon_states(instance: dg.DagsterInstance) -> list[DaemonState]:
    """Return the daemons that the instance needs, without those that never ran: commands alone need no daemon."""
    return [
        DaemonState(daemon, _utc(status.last_heartbeat.timestamp), bool(status.healthy))
        for daemon, status in instance.get_daemon_statuses().items()
        if status.last_heartbeat is not None
    ]


def automation_states(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition) -> list[AutomationState]:
    """Return the sensors and schedules of the code location, by kind and name."""
    stored = {state.instigator_name: state for state in instance.all_instigator_state()}
    definitions = {
        **{item.name: ("schedule", item.default_status.value) for item in repository.schedule_defs},
        **{item.name: ("sensor", item.default_status.value) for item in repository.sensor_defs},
    }
    states = []
    for name, (kind, default_status) in sorted(definitions.items(), key=lambda item: (item[1][0], item[0])):
        state = stored.get(name)
        if state is None:
            states.append(AutomationState(name, kind, default_status == dg.DefaultSensorStatus.RUNNING.value))
            continue
        last_tick_at = last_tick = None
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1):
            last_tick_at = _utc(tick.timestamp)
            error = tick.error.message.strip().splitlines()[0] if tick.error is not None else None
            last_tick = error or tick.skip_reason or f"{tick.status.value.lower()}, {len(tick.run_ids)} runs"
        states.append(AutomationState(name, kind, state.is_running, last_tick_at, last_tick))
    return states


def _utc(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
