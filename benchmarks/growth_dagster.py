"""What `growth` measures of Dagster in child processes: a run of one day, and a tick of the sensor."""

from collections.abc import Callable
from datetime import date
from typing import cast

import dagster as dg

from benchmarks.growth_workloads import generated_store, logged_store
from benchmarks.listed_store import ListedStore
from benchmarks.store_resource import GivenStoreResource
from benchmarks.subprocess_timer import Work
from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.event_log import run_job
from twap_pipeline.defs.jobs import INGEST_JOB
from twap_pipeline.defs.partitions import range_tags
from twap_pipeline.defs.resources import build_resources
from twap_pipeline.settings import Settings


def run_generated_day(url: str, count: str, last_day: str) -> Work:
    """Prepare a Dagster run of the last day, whose objects are loaded."""
    store, first_day = generated_store(count, last_day)
    return _run_day(url, store, first_day, date.fromisoformat(last_day))


def run_logged_day(url: str, day: str) -> Work:
    """Prepare a Dagster run of a day, whose objects are loaded; its orders and daily figures are computed again."""
    return _run_day(url, *logged_store(url), date.fromisoformat(day))


def _definitions(url: str, store: ListedStore, first_day: date) -> dg.Definitions:
    values = {"DATABASE_URL": url, "TWAP_SOURCE_URL": store.url, "TWAP_START_DATE": first_day.isoformat()}
    settings = Settings.model_validate(values)
    resources = {**build_resources(lambda: settings), "object_store": GivenStoreResource(settings, store)}
    return build_definitions(settings, resources)


def _run_day(url: str, store: ListedStore, first_day: date, day: date) -> Work:
    instance = dg.DagsterInstance.ephemeral()
    job = _definitions(url, store, first_day).resolve_job_def(INGEST_JOB)

    def run() -> None:
        if not run_job(instance, job, tags=range_tags(day, day), run_config={}).success:
            raise SystemExit(f"the run of {day} failed")

    return run


def tick(url: str, count: str, last_day: str) -> Work:
    """Prepare the first tick of the sensor ``new_twap_objects``, which finds nothing to load."""
    definitions = _definitions(url, *generated_store(count, last_day))
    sensor = cast(Callable[[dg.SensorEvaluationContext], object], definitions.resolve_sensor_def("new_twap_objects"))
    instance = dg.DagsterInstance.ephemeral()

    def evaluate() -> None:
        with dg.build_sensor_context(
            instance=instance, definitions=definitions, resources=dict(definitions.resources or {})
        ) as context:
            result = sensor(context)
        if not isinstance(result, dg.SensorResult) or result.run_requests:
            raise SystemExit(f"the tick requests runs: {result}")

    return evaluate
