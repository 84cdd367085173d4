"""Dagster runs that commands start: the local instance, the runs in this process, and a progress bar.

The runs are stored in the instance, so that Dagster's UI lists them.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import click
import dagster as dg
import yaml

from twap_pipeline import errors
from twap_pipeline.cli.context import database
from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.assets import FAILED_OBJECTS_KEY, SOURCE_KEY
from twap_pipeline.defs.event_log import SerializableErrorInfo, record_source_partitions
from twap_pipeline.defs.jobs import CHECK_JOB, INGEST_JOB, REFRESH_JOB
from twap_pipeline.defs.partitions import group_into_ranges, range_tags
from twap_pipeline.defs.resources import build_resources
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.paths import project_file
from twap_pipeline.settings import Settings
from twap_pipeline.storage.orders.refresh import dates_pending_refresh

_LOAD_LOG = logging.getLogger("twap_pipeline.ingest.load")
_PIPELINE_ERRORS = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
}
_NO_CONSOLE_LOG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def dagster_home(settings: Settings) -> Path:
    """Return the folder of DAGSTER_HOME, or a local one, which is created with the project's dagster.yaml.

    The local folder shares its state with plain ``dagster dev`` in a checkout: the project's dagster.yaml contains
    that folder as relative paths. They are Dagster's defaults in the local folder, so the copy omits them.
    """
    if settings.dagster_home:
        return settings.dagster_home.absolute()
    home = (settings.home / "dagster").absolute()
    home.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(project_file("dagster.yaml").read_text("utf-8"))
    for name in ("storage", "local_artifact_storage", "compute_logs"):
        del config[name]
    (home / "dagster.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return home


def run_ingest(
    settings: Settings,
    store_url: str,
    refs_by_date: Mapping[date, Sequence[ObjectRef]],
    *,
    object_keys: Sequence[str] = (),
    object_count: int = 0,
    show_progress: bool = False,
) -> list[str]:
    """Ingest the pending objects of the partitions in as few runs as possible and return the run ids.

    A run that fails because of objects does not stop the next run.

    Args:
        settings: Settings of the instance, the definitions and the resources.
        store_url: The source URL, recorded with the source partitions.
        refs_by_date: All objects of each partition that has pending objects.
        object_keys: Ingest only these objects, even if they are parked.
        object_count: Length of the progress bar.
        show_progress: Whether to print the progress bar to standard error.

    Raises:
        click.ClickException: A run failed for another reason than its objects.
    """
    job = _resolve_job(settings, INGEST_JOB)
    config = {"ops": {"twap_status": {"config": {"object_keys": list(object_keys)}}}}
    with dg.DagsterInstance.from_config(str(dagster_home(settings))) as instance:
        record_source_partitions(instance, SOURCE_KEY, store_url, refs_by_date)
        with _progress_bar(object_count, is_hidden=not show_progress):
            return [
                _run_job(instance, job, tags=range_tags(*days), run_config=config)
                for days in group_into_ranges(refs_by_date, settings.max_partitions_per_run)
            ]


def run_refresh(settings: Settings) -> list[str]:
    """Refresh stale orders and return the run ids; there is no run if no order is stale.

    Raises:
        click.ClickException: A run failed.
    """
    with database(settings) as (engine, _), engine.connect() as connection:
        days = [day for day in dates_pending_refresh(connection) if day >= settings.start_date]
    if not days:
        return []
    job = _resolve_job(settings, REFRESH_JOB)
    with dg.DagsterInstance.from_config(str(dagster_home(settings))) as instance:
        ranges = group_into_ranges(days, settings.max_partitions_per_run)
        return [_run_job(instance, job, tags=range_tags(*days)) for days in ranges]


def run_checks(settings: Settings) -> None:
    """Run every asset check once.

    Raises:
        click.ClickException: The run failed; a check that does not pass is not a failure.
    """
    with dg.DagsterInstance.from_config(str(dagster_home(settings))) as instance:
        _run_job(instance, _resolve_job(settings, CHECK_JOB))


def _resolve_job(settings: Settings, name: str) -> dg.JobDefinition:
    return build_definitions(settings, build_resources(lambda: settings)).resolve_job_def(name)


def _run_job(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    *,
    tags: Mapping[str, str] | None = None,
    run_config: Mapping[str, object] | None = None,
) -> str:
    """Run a job in this process and return the run id.

    Raises:
        click.ClickException: The run failed for another reason than its objects, which the ingest log records.
    """
    result = job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags=dict(tags or {}),
        run_config={**_NO_CONSOLE_LOG, **(run_config or {})},
    )
    for event in result.filter_events(lambda event: event.is_step_failure):
        failure = event.step_failure_data
        user_failure = failure.user_failure_data
        if user_failure is not None and FAILED_OBJECTS_KEY in user_failure.metadata:
            continue
        reason = user_failure.description if user_failure is not None else _root_cause(failure.error)
        raise click.ClickException(f"Dagster run {result.run_id} failed: {reason}")
    return result.run_id


def _root_cause(error: SerializableErrorInfo | None) -> str:
    """Return the message of the first error that the pipeline raised on purpose, or else of the innermost error."""
    while error is not None and error.cls_name not in _PIPELINE_ERRORS and error.cause is not None:
        error = error.cause
    if error is None:
        return "no error message"
    message = error.message.strip()
    return message.partition(": ")[2] if error.cls_name in _PIPELINE_ERRORS else message


class _ProgressHandler(logging.Handler):
    """Calls a function once per log record."""

    def __init__(self, on_record: Callable[[], None]) -> None:
        super().__init__(logging.INFO)
        self._on_record = on_record

    def emit(self, record: logging.LogRecord) -> None:
        """Call the function."""
        self._on_record()


@contextmanager
def _progress_bar(object_count: int, *, is_hidden: bool) -> Iterator[None]:
    """Print a progress bar that advances with each object that `ingest.load` logs."""
    bar = click.progressbar(length=object_count, label="objects", file=sys.stderr, hidden=is_hidden)
    handler = _ProgressHandler(lambda: bar.update(1))
    level = _LOAD_LOG.level
    with bar:
        _LOAD_LOG.addHandler(handler)
        _LOAD_LOG.setLevel(logging.INFO)
        try:
            yield
        finally:
            _LOAD_LOG.removeHandler(handler)
            _LOAD_LOG.setLevel(level)
