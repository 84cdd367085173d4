"""The state of the Dagster instance as `status` and the metrics show it, read without starting a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import dagster as dg

from twap_pipeline.cli.dagster_runs import open_instance
from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.instance_state import (
    AutomationState,
    DaemonState,
    JobState,
    automation_states,
    daemon_states,
    job_states,
)
from twap_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class InstanceState:
    """The jobs that ran, the daemons that the instance needs, and the sensors and schedules."""

    jobs: Sequence[JobState]
    daemons: Sequence[DaemonState]
    automation: Sequence[AutomationState]


def has_instance(settings: Settings) -> bool:
    """Return whether DAGSTER_HOME is set, or a command created the local instance before."""
    return settings.dagster_home is not None or (settings.home / "dagster").is_dir()


def read_instance_state(settings: Settings) -> InstanceState:
    """Return the state of the Dagster instance.

    Raises:
        ConfigurationError: The instance cannot be opened or read; the message is one line and contains no secret.
    """
    repository = _repository(settings)
    with open_instance(settings) as instance:
        return InstanceState(
            job_states(instance, sorted(repository.job_names)),
            daemon_states(instance),
            automation_states(instance, repository),
        )


@cache
def _repository(settings: Settings) -> dg.RepositoryDefinition:
    return build_definitions(settings).get_repository_def()
