"""The locked upgrade to head, and the data-loss protection of downgrades."""

from alembic import command, context, op
from psycopg import sql
from sqlalchemy import Connection, Engine, exists, inspect, literal, select, table, text

from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.storage.engine.server_requirements import require_supported_server
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.migration_lock import UPGRADE_DEADLINE_SECONDS, migration_lock
from twap_pipeline.storage.schema.models import metadata
from twap_pipeline.storage.schema.revision_gate import RevisionStatus, migrations_config, read_revision, require_head


def upgrade(engine: Engine, deadline_seconds: float = UPGRADE_DEADLINE_SECONDS) -> RevisionStatus:
    """Upgrade the database to head; concurrent callers wait for each other.

    Raises:
        ConfigurationError: The server is too old, or the database's encoding is not UTF8.
        DatabaseUnavailableError: Another session did not release the migration lock before the deadline.
        SchemaRevisionError: This code does not contain the database's revision, or the database contains our tables
            without a revision.
    """
    with migration_lock(engine, deadline_seconds):
        with engine.connect() as connection:
            require_supported_server(connection)
            before = read_revision(connection)
            present = sorted(set(metadata.tables) & set(inspect(connection).get_table_names()))
            stamp = before.head if present and not drift(connection) else "001"
        if not before.known:
            raise SchemaRevisionError(f"the database {before.message}")
        if present and not before.current:
            raise SchemaRevisionError(
                f"the database has {', '.join(present)} but records no revision; the tables resemble those of revision"
                f" {stamp}: if so, run `alembic stamp {stamp}` first"
            )
        if not before.at_head:
            with engine.connect() as connection:
                config = migrations_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    return require_head(engine)


def refuse_data_loss(action: str, *tables: str) -> None:
    """Refuse a downgrade that would destroy rows, unless ``-x allow-data-loss=yes`` allows it.

    Call it in ``downgrade()`` of a migration. It does nothing under ``--sql``: the reader of the script decides.

    Raises:
        SchemaRevisionError: One of the tables contains rows.
    """
    allowed = context.get_x_argument(as_dictionary=True).get("allow-data-loss") == "yes"
    if allowed or context.is_offline_mode():
        return
    connection = op.get_bind()
    # Lock first: no writer may commit rows between the check and the DROP.
    for name in tables:
        _lock_exclusively(connection, name)
    not_empty = [
        name for name in tables if connection.scalar(select(exists(select(literal(1)).select_from(table(name)))))
    ]
    if not_empty:
        raise SchemaRevisionError(
            f"{action} would destroy rows of {', '.join(not_empty)}; make a backup with pg_dump, then"
            " run `alembic -x allow-data-loss=yes downgrade …`"
        )


def _lock_exclusively(connection: Connection, table_name: str) -> None:
    statement = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table_name))
    connection.execute(text(statement.as_string()))
