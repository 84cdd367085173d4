"""Dagster resources: the database and the object store.

This is the only module of `defs` that reads the environment at run time: addresses and secrets are read when a run or
a tick starts. They are never part of run config, so that Dagster does not store them. A resource builds a plain
object; code below `defs` receives plain arguments. Limits of a run are read from the settings of `DatabaseResource`;
settings that shape definitions are arguments of `build_definitions`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.configured_store import open_configured_store

if TYPE_CHECKING:
    from sqlalchemy import Engine


RUN_LOCK_TAG = "twap/run_lock"
"""Tag of a run that takes its lock; the value is the identity of the database that contains the lock."""


@dataclass(frozen=True)
class DatabaseResource:
    """The database of DATABASE_URL, or the embedded PostgreSQL.

    New connections use the credentials of ``read_settings()``. There is no ``run`` while a sensor is evaluated.
    """

    settings: Settings
    read_settings: Callable[[], Settings]
    instance: dg.DagsterInstance | None = None
    run: dg.DagsterRun | None = None

    @property
    def application_name(self) -> str:
        """``twap_pipeline_run_`` and the short id that Dagster's UI shows, or the name of the code server."""
        return f"twap_pipeline_run_{self.run.run_id[:8]}" if self.run else "twap_pipeline_code_server"

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
            if self.run is None or self.instance is None:
                yield engine
                return
            with engine.connect() as connection:
                identity = database_identity(connection)
            with run_lock(engine, self.run.run_id):
                self.instance.add_run_tags(self.run.run_id, {RUN_LOCK_TAG: identity})
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


def build_resources(read_settings: Callable[[], Settings] = load_settings) -> dict[str, dg.ResourceDefinition]:
    """Return all resources by name. None accepts run config.

    Args:
        read_settings: Returns the settings when a run or a tick starts; by default those of the environment.
    """
    return {
        "database": dg.ResourceDefinition(
            lambda context: DatabaseResource(read_settings(), read_settings, context.instance, context.run),
            config_schema={},
            description="The PostgreSQL database: DATABASE_URL, or the local server. A run ends before it starts to"
            " work if the database is not at this code's Alembic head. No run config: set the variable.",
        ),
        "object_store": dg.ResourceDefinition(
            lambda _: ObjectStoreResource(read_settings()),
            config_schema={},
            description="The objects to load: TWAP_SOURCE_URL and TWAP_FILLS_URL, or the sample data. No run config.",
        ),
    }
