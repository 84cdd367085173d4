"""Runs of a command and Dagster's run monitoring, with each launcher that checks its workers."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import dagster_k8s.launcher
import pytest
import yaml
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster_k8s.client import DagsterKubernetesClient

from twap_pipeline.defs.event_log import run_job
from twap_pipeline.defs.partitions import range_tags
from twap_pipeline_tests.factories import DAY

PARTITIONS = dg.DailyPartitionsDefinition(str(DAY), end_offset=1)
END_EVENTS = {dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE}
BROKER = "redis://127.0.0.1:9/0"
LAUNCHERS: dict[str, dict[str, Any]] = {
    "celery": {
        "module": "dagster_celery.launcher",
        "class": "CeleryRunLauncher",
        "config": {"broker": BROKER, "backend": BROKER},
    },
    "kubernetes": {
        "module": "dagster_k8s.launcher",
        "class": "K8sRunLauncher",
        "config": {
            "service_account_name": "dagster",
            "instance_config_map": "dagster-instance",
            "job_image": "twap-pipeline",
            "dagster_home": "/opt/dagster",
            "load_incluster_config": False,
        },
    },
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster home; creating its SQLite files takes seconds, so the tests share it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def instance(
    request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """An instance with run monitoring and the launcher of the parameter; Kubernetes has no Job of any run."""
    monkeypatch.setattr(dagster_k8s.launcher, "load_kubernetes_config", lambda **_: None)
    monkeypatch.setattr(DagsterKubernetesClient, "get_job_status", lambda *_, **__: None)
    config = {
        "run_launcher": LAUNCHERS[request.param],
        "run_monitoring": {"enabled": True},
        "telemetry": {"enabled": False},
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def build_job(action: Callable[[], None]) -> dg.JobDefinition:
    """Return a job that materializes a range of partitions and performs the action meanwhile."""

    @dg.asset(partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run())
    def monitored_asset() -> dg.MaterializeResult[None]:
        action()
        return dg.MaterializeResult()

    job = dg.define_asset_job("monitored_job", [monitored_asset])
    return dg.Definitions([monitored_asset], jobs=[job], executor=dg.in_process_executor).resolve_job_def(job.name)


def run(instance: dg.DagsterInstance, job: dg.JobDefinition) -> dg.JobExecutionResult:
    config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return run_job(instance, job, tags=range_tags(DAY, DAY), run_config=config)


@pytest.mark.parametrize("instance", LAUNCHERS, indirect=True)
def test_run_of_a_command_is_left_alone_by_run_monitoring(instance: dg.DagsterInstance, home: Path) -> None:
    """Before: failed with "worker status UNKNOWN" with Kubernetes, and a KeyError in each iteration with Celery."""
    errors: list[object] = []

    def monitor() -> None:
        with dg.DagsterInstance.from_config(str(home)) as daemon:
            context: Any = SimpleNamespace(instance=daemon, create_request_context=lambda: None)
            errors.extend(execute_run_monitoring_iteration(context, logging.getLogger("daemon")))

    result = run(instance, build_job(monitor))

    assert [error for error in errors if error is not None] == []
    stored = instance.get_run_by_id(result.run_id)
    assert stored is not None
    assert stored.status == dg.DagsterRunStatus.SUCCESS
    assert range_tags(DAY, DAY).items() <= stored.tags.items()
    ends = [entry for entry in instance.all_logs(result.run_id) if entry.dagster_event_type in END_EVENTS]
    assert [entry.dagster_event_type for entry in ends] == [dg.DagsterEventType.RUN_SUCCESS]
    (materialization,) = instance.fetch_materializations(dg.AssetKey("monitored_asset"), limit=1).records
    assert materialization.run_id == result.run_id


@pytest.mark.parametrize("instance", ["celery"], indirect=True)
def test_failed_run_of_a_command_is_added_to_the_instance(instance: dg.DagsterInstance) -> None:
    def fail() -> None:
        raise dg.Failure("bad object", allow_retries=False)

    result = run(instance, build_job(fail))

    stored = instance.get_run_by_id(result.run_id)
    assert stored is not None
    assert stored.status == dg.DagsterRunStatus.FAILURE
    assert stored.job_snapshot_id is not None
    assert instance.has_job_snapshot(stored.job_snapshot_id)
