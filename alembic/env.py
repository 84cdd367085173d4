"""Alembic's environment: selects the database and runs the migrations.

The database is DATABASE_URL, else ``sqlalchemy.url`` of alembic.ini, else the embedded server. A caller that has
acquired the migration lock passes its connection as ``config.attributes["connection"]``.
"""

from contextlib import AbstractContextManager, nullcontext
from logging.config import fileConfig

from alembic import context
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection

from twap_pipeline.errors import TwapPipelineError
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.engine.engine import open_database
from twap_pipeline.storage.engine.server_requirements import require_supported_server
from twap_pipeline.storage.schema.drift import types_differ
from twap_pipeline.storage.schema.migration_lock import lock_timeout, migration_lock
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata
from twap_pipeline.storage.schema.oldest_reader import record_oldest_reader

config = context.config
if config.config_file_name is not None and "connection" not in config.attributes:
    fileConfig(config.config_file_name, disable_existing_loggers=False)


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Return whether a name is one of our tables, or not a table: Dagster's tables may share the database."""
    return kind != "table" or name in metadata.tables


def ini_url() -> str:
    """Return ``sqlalchemy.url``, read without interpolation: an interpolation error would show the password."""
    return config.file_config.get(config.config_ini_section, "sqlalchemy.url", raw=True, fallback="").replace("%%", "%")


def record_after_step(*, ctx: MigrationContext, heads: set[str], **_: object) -> None:
    """Record the oldest reader of the database, in the transaction of the step."""
    record_oldest_reader(ctx, context.script, heads)


def run(connection: Connection | None, lock: AbstractContextManager[None] | None = None) -> None:
    """Run the migrations on a connection, or print their SQL if there is none (``--sql``).

    Args:
        connection: Must not have executed a statement: Alembic would not commit.
        lock: Acquired for commands that change the revision, not for those that only read it.
    """
    context.configure(
        connection=connection,
        dialect_name=None if connection is not None else "postgresql",
        target_metadata=metadata,
        version_table=ALEMBIC_VERSION_TABLE,
        include_name=include_name,
        compare_type=types_differ,
        compare_server_default=True,
        transaction_per_migration=True,
        on_version_apply=record_after_step,
        literal_binds=connection is None,
    )
    changes_revision = "destination_rev" in context.get_context().opts
    with lock if lock and changes_revision else nullcontext(), lock_timeout(connection), context.begin_transaction():
        context.run_migrations()


def run_on_configured_database() -> None:
    """Run the migrations on the database that the settings name."""
    settings = load_settings()
    with (
        open_database(settings.database_url_text or ini_url(), settings.home, "twap_pipeline_alembic") as (engine, _),
        engine.connect() as connection,
    ):
        require_supported_server(connection)
        run(connection, migration_lock(engine))


if context.is_offline_mode():
    run(None)
elif (caller_connection := config.attributes.get("connection")) is not None:
    run(caller_connection)
else:
    try:
        run_on_configured_database()
    except TwapPipelineError as error:  # the `alembic` command prints a CommandError in one line
        raise CommandError(str(error)) from error
