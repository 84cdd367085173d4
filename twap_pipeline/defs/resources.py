"""Dagster resources: the database, the object store and the notifier.

This is the only module of `defs` that reads the environment at run time: addresses and secrets are read when a run or
a tick starts. They are never part of run config, so that Dagster does not store them. A resource builds a plain
object; code below `defs` receives plain arguments. Limits of a run are read from the settings of `DatabaseResource`;
settings that shape definitions are arguments of `build_definitions`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from twap_pipeline.defs.notifier import Notifier
from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.configured_store import open_configured_store

if TYPE_CHECKING:
    from sqlalchemy import Engine


RUN_LOCK_TAG = "twap/run_lock"
"""Tag of a run that takes its lock; the value is the identity of the database that contains the lock."""


@dataclass(frozen=True)
class LockedRun:
    """The run that uses the database; ``tag`` adds `RUN_LOCK_TAG` with its argument to the run."""

    run_id: str
    tag: Callable[[str], None]


@dataclass(frozen=True)
class DatabaseResource:
    """The database of DATABASE_URL, or the embedded PostgreSQL.

    New connections use the credentials of ``read_settings()``. There is no ``run`` while a sensor is evaluated.
    """

    settings: Settings
    read_settings: Callable[[], Settings]
    application_name: str
    run: LockedRun | None = None

    @contextmanager
    def engine(self) -> Iterator["Engine"]:
        """Yield an engine; close its connections at the end of the block. A run is locked in the block.

        Raises:
            DatabaseUnavailableError: The server refused the connection or did not respond.
        """
        from twap_pipeline.storage.engine.engine import open_database
        from twap_pipeline.storage.run_lock import database_identity, run_lock

        settings = self.settings
        with open_database(
            settings.database_url_text,
            settings.home,
            self.application_name,
            lambda: self.read_settings().database_url_text,
        ) as (engine, _):
            if self.run is None:
                yield engine
                return
            with engine.connect() as connection:
                identity = database_identity(connection)
            with run_lock(engine, self.run.run_id):
                self.run.tag(identity)
                yield engine

    @contextmanager
    def engine_at_head(self) -> Iterator["Engine"]:
        """Yield `engine()` if the database is at this code's Alembic head.

        Raises:
            SchemaRevisionError: The revisions differ; the message names both and the command that upgrades.
        """
        from twap_pipeline.storage.schema.revision_gate import require_head

        with self.engine() as engine:
            require_head(engine)
            yield engine


@dataclass(frozen=True)
class ObjectStoreResource:
    """The buckets or directories of TWAP_SOURCE_URL and TWAP_FILLS_URL, or the sample data."""

    settings: Settings

    def open_for(self, engine: "Engine", data_set: DataSet = TWAP_STATUS) -> ObjectStore:
        """Return the store of a data set after a check that the ingest log contains none of another source.

        Raises:
            ConfigurationError: See `open`; or the log contains objects of another source.
        """
        from twap_pipeline.ingest.source_check import require_same_source

        store = self.open(data_set)
        require_same_source(engine, store, self.settings.accept_source_urls, data_set=data_set)
        return store

    def open(self, data_set: DataSet = TWAP_STATUS) -> ObjectStore:
        """Return the store of a data set. Open it once per run: creating an S3 client costs about 0.1 s.

        Raises:
            ConfigurationError: A database is configured without a source, there are no fills, the AWS configuration is
                not valid, or the S3 endpoint is not allowed.
        """
        from dagster_aws.s3 import S3Resource

        from twap_pipeline.source.s3 import REQUEST_RETRIES, configured_region

        return open_configured_store(
            self.settings,
            data_set,
            make_s3_client=lambda: S3Resource(
                region_name=configured_region(), max_attempts=REQUEST_RETRIES
            ).get_client(),
        )


def _locked_run(context: dg.InitResourceContext) -> LockedRun | None:
    """Return the run that initializes the resource; None for a sensor. The run is tagged once, not once per step."""
    run, instance = context.run, context.instance
    if run is None or instance is None:
        return None
    return LockedRun(
        run.run_id, cache(lambda identity: instance.add_run_tags(run.run_id, {RUN_LOCK_TAG: str(identity)}))
    )


def _application_name(context: dg.InitResourceContext) -> str:
    """Return ``twap_pipeline_run_`` and the short id that Dagster's UI shows, or the name of the code server."""
    return f"twap_pipeline_run_{context.run.run_id[:8]}" if context.run else "twap_pipeline_code_server"


def build_resources(read_settings: Callable[[], Settings] = load_settings) -> dict[str, dg.ResourceDefinition]:
    """Return all resources by name. None accepts run config.

    Args:
        read_settings: Returns the settings when a run or a tick starts; by default those of the environment.
    """

    def build(make: Callable[[Settings, dg.InitResourceContext], object], description: str) -> dg.ResourceDefinition:
        return dg.ResourceDefinition(
            lambda context: make(read_settings(), context), config_schema={}, description=description
        )

    return {
        "database": build(
            lambda settings, context: DatabaseResource(
                settings, read_settings, _application_name(context), _locked_run(context)
            ),
            "The PostgreSQL database: DATABASE_URL, or the local server. No run config: set the variable.",
        ),
        "object_store": build(
            lambda settings, _: ObjectStoreResource(settings),
            "The objects to load: TWAP_SOURCE_URL and TWAP_FILLS_URL, or the sample data. No run config.",
        ),
        "notifier": build(
            lambda settings, _: Notifier(settings.alert_urls),
            "Sends the alerts to TWAP_ALERT_URLS. No run config: set the variable.",
        ),
    }
