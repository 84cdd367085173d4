"""Alembic's entry: which database, which tables.

The database is DATABASE_URL, else ``sqlalchemy.url`` of alembic.ini, else the embedded one. A caller that already holds
a connection passes it as ``config.attributes["connection"]``, and the migration lock with it.
"""

from contextlib import AbstractContextManager, nullcontext
from logging.config import fileConfig

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection

from twap_pipeline.errors import TwapPipelineError
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.engine.engine import make_engine, resolve_or_start_database, translate_connection_errors
from twap_pipeline.storage.schema.drift import types_differ
from twap_pipeline.storage.schema.locks import lock_timeout, migration_lock
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata

config = context.config
if config.config_file_name is not None and "connection" not in config.attributes:
    fileConfig(config.config_file_name, disable_existing_loggers=False)


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out tables that are not ours (Dagster's may share the database)."""
    return kind != "table" or name in metadata.tables


def ini_url() -> str:
    """Return ``sqlalchemy.url``; read raw, for the complaint about a lone ``%`` would show the password."""
    return config.file_config.get(config.config_ini_section, "sqlalchemy.url", raw=True, fallback="").replace("%%", "%")


def run(connection: Connection | None, lock: AbstractContextManager[None] | None = None) -> None:
    """Run the migrations on a connection, or print their SQL where there is none (``--sql``).

    Args:
        connection: On which no statement has run yet, or Alembic would not commit.
        lock: Taken for commands that move the database to a revision, not for those that look.
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
        literal_binds=connection is None,
    )
    moves = "destination_rev" in context.get_context().opts
    with lock if lock and moves else nullcontext(), lock_timeout(connection), context.begin_transaction():
        context.run_migrations()


def run_on_configured_database() -> None:
    """Connect as the settings say."""
    settings = load_settings()
    url = resolve_or_start_database(settings.database_url_text or ini_url(), settings.home)
    engine = make_engine(url)
    try:
        with translate_connection_errors(url), engine.connect() as connection:
            run(connection, migration_lock(engine))
    finally:
        engine.dispose()


if context.is_offline_mode():
    run(None)
elif (given := config.attributes.get("connection")) is not None:
    run(given)
else:
    try:
        run_on_configured_database()
    except TwapPipelineError as error:  # which the `alembic` command shows in one line
        raise CommandError(str(error)) from error
