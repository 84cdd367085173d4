"""The files of ``deploy/celery`` agree with each other, with the production file and with dagster-celery."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from twap_pipeline.paths import ROOT
from twap_pipeline_tests.celery_cluster import DEPLOY

_VARIABLES = {"CELERY_BROKER_URL": "redis://127.0.0.1:9/0", "CELERY_RESULT_BACKEND": "redis://127.0.0.1:9/1"}
_DEFAULT_RESULT_SECONDS = 86_400


def load_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def worker_config(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in _VARIABLES.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("dagster_celery_config", DEPLOY / "dagster_celery_config.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_celery_instance_differs_in_launcher_and_limits() -> None:
    celery, local = load_yaml(DEPLOY / "dagster.yaml"), load_yaml(ROOT / "dagster.yaml")
    changed = {"storage", "run_launcher", "concurrency", "run_monitoring", "local_artifact_storage", "compute_logs"}

    assert {name: value for name, value in celery.items() if name not in changed} == {
        name: value for name, value in local.items() if name not in changed
    }


def test_pools_leave_no_celery_worker_idle() -> None:
    """A pool's limit is also the most runs of an asset at once."""
    concurrency = load_yaml(DEPLOY / "dagster.yaml")["concurrency"]

    assert concurrency["pools"]["default_limit"] == concurrency["runs"]["max_concurrent_runs"]


def test_pools_of_one_machine_leave_runs_for_checks() -> None:
    concurrency = load_yaml(ROOT / "dagster.yaml")["concurrency"]

    assert concurrency["pools"]["default_limit"] < concurrency["runs"]["max_concurrent_runs"]


def test_celery_sends_no_task_again_while_its_run_can_work(monkeypatch: pytest.MonkeyPatch) -> None:
    config = worker_config(monkeypatch)
    max_runtime_seconds = load_yaml(DEPLOY / "dagster.yaml")["run_monitoring"]["max_runtime_seconds"]

    assert config.broker_transport_options["visibility_timeout"] > max_runtime_seconds
    assert getattr(config, "result_expires", _DEFAULT_RESULT_SECONDS) > max_runtime_seconds
    assert not getattr(config, "task_reject_on_worker_lost", False)


def test_celery_worker_and_launcher_use_the_same_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker reads the module, the launcher reads dagster.yaml."""
    make_app = pytest.importorskip("dagster_celery.make_app").make_app
    launcher_class = pytest.importorskip("dagster_celery.launcher").CeleryRunLauncher
    config = worker_config(monkeypatch)
    monkeypatch.syspath_prepend(str(DEPLOY))

    worker = make_app().conf
    launcher = launcher_class(
        default_queue="dagster", broker=config.broker_url, backend=config.result_backend
    ).celery.conf

    assert (worker.broker_url, worker.result_backend) == tuple(_VARIABLES.values())
    assert (launcher.broker_url, launcher.result_backend) == tuple(_VARIABLES.values())
    assert (worker.task_acks_late, worker.worker_prefetch_multiplier, worker.worker_concurrency) == (True, 1, 1)
    assert worker.task_queues == launcher.task_queues
