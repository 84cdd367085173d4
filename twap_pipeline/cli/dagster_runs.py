"""Dagster runs that commands start: the local instance, and the runs in this process.

The runs are stored in the instance, so that Dagster's UI lists them.
"""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import date
from pathlib import Path
from typing import NoReturn

import click
import dagster as dg
import yaml
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from twap_pipeline.cli.context import database
from twap_pipeline.cli.progress import ingest_steps, step
from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.assets import FAILED_OBJECTS_KEY
from twap_pipeline.defs.data_sets import data_set_definitions
from twap_pipeline.defs.event_log import SerializableErrorInfo, record_source_partitions, run_job
from twap_pipeline.defs.jobs import CHECK_JOB, REFRESH_JOB
from twap_pipeline.defs.partitions import group_into_ranges, range_tags
from twap_pipeline.defs.resources import build_resources
from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ConfigurationError, TwapPipelineError
from twap_pipeline.ingest.plan import Plan
from twap_pipeline.paths import project_file
from twap_pipeline.settings import Settings
from twap_pipeline.storage.engine.url import redacted_url
from twap_pipeline.storage.orders.refresh import dates_pending_refresh

_OWN_ERRORS = f"{TwapPipelineError.__module__}."
_VALUES = re.compile(r"\. |, instead got")
_NO_CONSOLE_LOG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def dagster_home(settings: Settings) -> Path:
    """Return the folder of DAGSTER_HOME, or a local one, which is created with the project's dagster.yaml.

    DAGSTER_HOME follows Dagster's rules: ``~`` is expanded, and the folder must exist and have an absolute path.

    The local folder shares its state with plain ``dagster dev`` in a checkout: the project's dagster.yaml contains
    that folder as relative paths. They are Dagster's defaults in the local folder, so the copy omits them.

    Raises:
        ConfigurationError: DAGSTER_HOME breaks a rule, or the local folder cannot be created.
    """
    if settings.dagster_home:
        return _resolve_dagster_home(str(settings.dagster_home))
    home = (settings.home / "dagster").absolute()
    config = yaml.safe_load(project_file("dagster.yaml").read_text("utf-8"))
    for name in ("storage", "local_artifact_storage", "compute_logs"):
        del config[name]
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / "dagster.yaml").write_text(yaml.safe_dump(config), "utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot create the Dagster instance in {home}: {error}; make it writable, or set TWAP_HOME or DAGSTER_HOME"
        ) from error
    return home


def _resolve_dagster_home(text: str) -> Path:
    home = Path(os.path.expanduser(text))  # noqa: PTH111 - Dagster's function; Path raises for unknown users
    if not home.is_absolute():
        raise ConfigurationError(f"DAGSTER_HOME must be an absolute path, without quotes: {text}")
    if not home.is_dir():
        raise ConfigurationError(
            f"DAGSTER_HOME is not an existing directory: {home}; create it with `mkdir -p`, or unset DAGSTER_HOME"
        )
    return home


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Yield the Dagster instance of `dagster_home`.

    Raises:
        ConfigurationError: The folder, its dagster.yaml or the storage that the file names cannot be used.
        KeyboardInterrupt: Dagster was interrupted between steps.
    """
    home = dagster_home(settings)
    try:
        instance = dg.DagsterInstance.from_config(str(home))
    except Exception as error:  # dagster.yaml can name any class
        raise ConfigurationError(
            f"Dagster cannot start with {home / 'dagster.yaml'}: {_in_one_line(error)}; correct the file or its folder"
        ) from error
    with instance:
        try:
            yield instance
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except (SQLAlchemyError, OSError) as error:
            raise ConfigurationError(
                f"Dagster cannot use the storage of {home}: {_in_one_line(error)};"
                " check its dagster.yaml and the permissions of the folder"
            ) from error


def describe_storage(settings: Settings) -> str:
    """Return what stores runs and sensor states. Creates no file if DAGSTER_HOME is not set.

    Raises:
        ConfigurationError: See `open_instance`; or the URL of a PostgreSQL storage does not name psycopg2.
    """
    if settings.dagster_home is None:
        return f"SQLite in {settings.home.absolute() / 'dagster'}"
    with open_instance(settings) as instance:
        storage = instance.event_log_storage
        text = getattr(storage, "postgres_url", None)  # an import of dagster_postgres takes a second
        if text is None:
            return f"{type(storage).__name__} of {dagster_home(settings)}"
        url = make_url(text)
        if url.get_dialect().driver != "psycopg2":
            raise ConfigurationError(
                f"the URL of Dagster's storage starts with {url.drivername}://, and Dagster fails at its first run:"
                " let it start with postgresql+psycopg2://"
            )
        return f"PostgreSQL at {redacted_url(url)}"


def _in_one_line(error: Exception) -> str:
    """Return the first sentence of each problem, without the values that Dagster appends: they may be secrets."""
    problems = getattr(error, "error_messages", None) or [str(error)]
    return "; ".join(_VALUES.split(" ".join(problem.split()))[0] for problem in problems)


def run_ingest(
    settings: Settings,
    store_url: str,
    refs_by_date: Mapping[date, Sequence[ObjectRef]],
    *,
    plans: Mapping[date, Plan],
    object_keys: Sequence[str] = (),
    show_progress: bool = False,
    data_set: DataSet = TWAP_STATUS,
) -> list[str]:
    """Ingest the pending objects of the partitions in as few runs as possible and return the run ids.

    A run that fails because of objects does not stop the next run.

    Args:
        settings: Settings of the instance, the definitions and the resources.
        store_url: The source URL, recorded with the source partitions.
        refs_by_date: All objects of each partition. Runs cover no partition without objects, so that Dagster's UI shows
            a lost day as missing.
        plans: The plan of each partition.
        object_keys: Ingest only these objects, even if they are parked.
        show_progress: Whether to print the steps of each run to standard error.
        data_set: Data set of the objects.

    Raises:
        click.ClickException: A run failed for another reason than its objects.
    """
    definition = next(item for item in data_set_definitions(settings) if item.data_set == data_set)
    job = _resolve_job(settings, definition.names.ingest_job)
    config = {"ops": {definition.table_key.to_python_identifier(): {"config": {"object_keys": list(object_keys)}}}}
    with open_instance(settings) as instance:
        pending_by_date = {day: plan.pending for day, plan in plans.items() if plan.pending}
        pending_refs = {day: refs_by_date[day] for day in pending_by_date}
        with step("recording the partitions of the source") if show_progress else nullcontext():
            record_source_partitions(instance, definition.source_key, store_url, pending_refs)
        ranges = group_into_ranges(pending_by_date, settings.max_partitions_per_run, covered=refs_by_date.keys())
        run_ids = []
        for number, days in enumerate(ranges, start=1):
            count = sum(len(pending) for day, pending in pending_by_date.items() if days[0] <= day <= days[-1])
            with ingest_steps(f"run {number} of {len(ranges)}", count) if show_progress else nullcontext():
                run_ids.append(_run_job(instance, job, tags=range_tags(*days), run_config=config))
        return run_ids


def run_refresh(settings: Settings) -> None:
    """Refresh stale orders; there is no run if no order is stale.

    Raises:
        click.ClickException: A run failed.
    """
    with database(settings) as (engine, _), engine.connect() as connection:
        first = settings.start_date
        days = [day for day in dates_pending_refresh(connection) if day >= first]
    if not days:
        return
    job = _resolve_job(settings, REFRESH_JOB)
    with open_instance(settings) as instance:
        for days_of_run in group_into_ranges(days, settings.max_partitions_per_run):
            _run_job(instance, job, tags=range_tags(*days_of_run))


def run_checks(settings: Settings) -> None:
    """Run every asset check once.

    Raises:
        click.ClickException: The run failed; a check that does not pass is not a failure.
    """
    with open_instance(settings) as instance:
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
        KeyboardInterrupt: SIGINT or SIGTERM interrupted the run; Dagster records it as a failure of the step.
    """
    with _signals_raised_again() as raise_last_signal:
        result = run_job(instance, job, tags=tags or {}, run_config={**_NO_CONSOLE_LOG, **(run_config or {})})
        for event in result.filter_events(lambda event: event.is_step_failure):
            failure = event.step_failure_data
            user_failure = failure.user_failure_data
            if user_failure is not None and FAILED_OBJECTS_KEY in user_failure.metadata:
                continue
            cause = _root_cause(failure.error)
            if cause is not None and cause.cls_name == dg.DagsterExecutionInterruptedError.__name__:
                raise_last_signal()
            reason = user_failure.description if user_failure is not None else _message(cause)
            raise click.ClickException(f"Dagster run {result.run_id} failed: {reason}")
    return result.run_id


@contextmanager
def _signals_raised_again() -> Iterator[Callable[[], NoReturn]]:
    """Yield a function that raises the last signal since the block began again; do that if Dagster was interrupted.

    During a run, Dagster's handler of SIGINT and SIGTERM forgets which of them it was. Then the handlers are those of
    the command again, which ends with the status of the signal.
    """
    reader, writer = socket.socketpair()

    def raise_last_signal() -> NoReturn:
        with suppress(BlockingIOError):
            signal.raise_signal(reader.recv(4096)[-1])
        raise KeyboardInterrupt

    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield raise_last_signal
        except dg.DagsterExecutionInterruptedError:
            raise_last_signal()
        finally:
            signal.set_wakeup_fd(previous)


def _root_cause(error: SerializableErrorInfo | None) -> SerializableErrorInfo | None:
    """Return the first error of this package in the chain of causes, else the last cause."""
    while error is not None and error.cause is not None and not error.message.startswith(_OWN_ERRORS):
        error = error.cause
    return error


def _message(error: SerializableErrorInfo | None) -> str:
    """Return the message of an error, without the class if it is an error of this package."""
    if error is None:
        return "no error message"
    message = error.message.strip()
    return message.partition(": ")[2] if message.startswith(_OWN_ERRORS) else message
