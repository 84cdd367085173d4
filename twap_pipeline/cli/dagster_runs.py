"""Ingestion as Dagster runs, from the command: which days, in how many runs, with progress on a terminal."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twap_pipeline.cli.context import database
from twap_pipeline.defs.assets import FAILED_OBJECTS_KEY, SOURCE_KEY
from twap_pipeline.defs.event_log import record_source_days
from twap_pipeline.defs.partitions import group_into_ranges, range_tags
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.paths import project_file
from twap_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg
    from dagster_shared.error import SerializableErrorInfo

loading_log = logging.getLogger("twap_pipeline.ingest.load")


@contextmanager
def dagster_instance(settings: Settings) -> Iterator["dg.DagsterInstance"]:
    """Yield the instance of DAGSTER_HOME, or the local one below the settings' home."""
    import dagster as dg

    home = settings.dagster_home or local_dagster_home(settings)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def local_dagster_home(settings: Settings) -> Path:
    """Return a DAGSTER_HOME that shares its state with plain ``dagster dev`` in the checkout.

    The project's dagster.yaml names its folders relative to the checkout; below a home of its own Dagster's defaults
    are those same folders, so the copy leaves them out.
    """
    import yaml

    home = (settings.home / "dagster").absolute()
    home.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(project_file("dagster.yaml").read_text("utf-8"))
    kept = {
        name: value
        for name, value in config.items()
        if name not in {"storage", "local_artifact_storage", "compute_logs"}
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(kept), "utf-8")
    return home


def run_ingestion(
    settings: Settings,
    store_url: str,
    days: Mapping[date, Sequence[ObjectRef]],
    *,
    object_keys: Sequence[str] = (),
    objects: int = 0,
    show_progress: bool = False,
) -> list[str]:
    """Take the days' missing objects in as few Dagster runs as the chunk size allows; return the runs' ids.

    A run that fails for its objects is recorded and does not keep the others; one that fails for anything else ends
    the work. The runs read database and source from the environment, as every run does.

    Args:
        settings: Where Dagster's instance is.
        store_url: The source, for the records.
        days: UTC days with something to take, and all of their objects.
        object_keys: Take only these, parked or not.
        objects: How many are to be taken, for the progress bar.
        show_progress: Whether to draw it.
    """
    from twap_pipeline.definitions import build_definitions
    from twap_pipeline.defs.jobs import INGEST_JOB

    with dagster_instance(settings) as instance, _progress(objects, shown=show_progress):
        definitions = build_definitions(settings)
        record_source_days(instance, SOURCE_KEY, store_url, days)
        config = {"ops": {"twap_status": {"config": {"object_keys": list(object_keys)}}}}
        ranges = group_into_ranges(list(days), settings.max_partitions_per_run)
        return [_run_days(instance, definitions, INGEST_JOB, window, config) for window in ranges]


def run_refresh(settings: Settings) -> list[str]:
    """Bring the orders up to the rows where a run did not get to them; return the runs' ids, none if all is well."""
    from twap_pipeline.definitions import build_definitions
    from twap_pipeline.defs.jobs import REFRESH_JOB

    if not (days := _days_due(settings)):
        return []
    with dagster_instance(settings) as instance:
        definitions = build_definitions(settings)
        ranges = group_into_ranges(days, settings.max_partitions_per_run)
        return [_run_days(instance, definitions, REFRESH_JOB, window, {}) for window in ranges]


def _run_days(
    instance: "dg.DagsterInstance",
    definitions: "dg.Definitions",
    job: str,
    days: tuple[date, date],
    run_config: Mapping[str, object],
) -> str:
    """Run a job over a range of days in this process and return the run's id."""
    result = definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags=range_tags(*days),
        run_config={**_QUIET, **run_config},
    )
    _raise_unless_object_failures_only(result)
    return result.run_id


def _days_due(settings: Settings) -> list[date]:
    """Return the days of which rows came in but not the orders: those of runs that failed for some object."""
    from twap_pipeline.storage.orders.refresh import dates_pending_refresh

    with database(settings) as (engine, _), engine.connect() as connection:
        return [day for day in dates_pending_refresh(connection) if day >= settings.start_date]


class _ProgressHandler(logging.Handler):
    """Calls back for each record."""

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__(logging.INFO)
        self._call = call

    def emit(self, record: logging.LogRecord) -> None:
        """Call back."""
        self._call()


@contextmanager
def _progress(objects: int, *, shown: bool) -> Iterator[None]:
    """Draw a bar that moves on with each object that `ingest.loading` logs as done."""
    bar = click.progressbar(length=objects, label="objects", file=sys.stderr, hidden=not shown)
    handler = _ProgressHandler(lambda: bar.update(1))
    before = loading_log.level
    with bar:
        loading_log.addHandler(handler)
        loading_log.setLevel(logging.INFO)
        try:
            yield
        finally:
            loading_log.removeHandler(handler)
            loading_log.setLevel(before)


def run_checks(settings: Settings) -> None:
    """Run every asset check once, so that the UI shows how the table stands."""
    from twap_pipeline.definitions import build_definitions
    from twap_pipeline.defs.jobs import CHECK_JOB

    with dagster_instance(settings) as instance:
        job = build_definitions(settings).resolve_job_def(CHECK_JOB)
        result = job.execute_in_process(instance=instance, raise_on_error=False, run_config=_QUIET)
    _raise_unless_object_failures_only(result)


_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def _raise_unless_object_failures_only(result: "dg.ExecuteInProcessResult") -> None:
    """Objects that could not be taken are recorded, and the run's Failure names them; anything else ends the work."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        failure = event.step_failure_data
        told = failure.user_failure_data
        if told is not None and FAILED_OBJECTS_KEY in told.metadata:
            continue
        said = told.description if told is not None else _root_cause(failure.error)
        raise click.ClickException(f"Dagster run {result.run_id} failed: {said}")


def _root_cause(error: "SerializableErrorInfo | None") -> str:
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "for no reason that it gave"
