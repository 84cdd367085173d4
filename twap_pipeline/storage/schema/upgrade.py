"""The locked upgrade to head, and the guard against downgrades that destroy rows."""

from alembic import command, context, op
from sqlalchemy import Engine, inspect, text

from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.locks import UPGRADE_DEADLINE_SECONDS, migration_lock
from twap_pipeline.storage.schema.models import metadata
from twap_pipeline.storage.schema.revision_gate import RevisionStatus, migrations_config, read_revision, require_head


def upgrade(engine: Engine, deadline_seconds: float = UPGRADE_DEADLINE_SECONDS) -> RevisionStatus:
    """Bring the database to head, once, however many deployers try at a time.

    Raises:
        DatabaseUnavailableError: Another deployer held the lock past the deadline.
        SchemaRevisionError: The database is at a revision that this code does not know, or has our tables and none.
    """
    with migration_lock(engine, deadline_seconds):
        with engine.connect() as connection:
            before = read_revision(connection)
            present = sorted(set(metadata.tables) & set(inspect(connection).get_table_names()))
            stamp = before.head if present and not drift(connection) else "001"
        if not before.known:
            raise SchemaRevisionError(f"the database {before.message}")
        if present and not before.current:
            raise SchemaRevisionError(
                f"the database has {', '.join(present)} but records no revision; they look like those of revision"
                f" {stamp}: if so, run `alembic stamp {stamp}` first"
            )
        if not before.at_head:
            with engine.connect() as connection:
                config = migrations_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    return require_head(engine)


def refuse_data_loss(action: str, *tables: str) -> None:
    """Stop a downgrade that would destroy rows, unless ``-x allow-data-loss=yes`` asks for it by name.

    Called from migrations. Under ``--sql`` nothing can be looked at, and the reader of the script decides.

    Raises:
        SchemaRevisionError: One of the tables holds rows.
    """
    allowed = context.get_x_argument(as_dictionary=True).get("allow-data-loss") == "yes"
    if allowed or context.is_offline_mode():
        return
    connection = op.get_bind()
    # Before the look, so that no writer who is under way commits between it and the destruction.
    for name in tables:
        connection.execute(text(f'LOCK TABLE "{name}" IN ACCESS EXCLUSIVE MODE'))
    full = [name for name in tables if connection.scalar(text(f'SELECT EXISTS (SELECT FROM "{name}")'))]  # noqa: S608
    if full:
        raise SchemaRevisionError(
            f"{action} would destroy rows of {', '.join(full)}; take a pg_dump, then"
            " run `alembic -x allow-data-loss=yes downgrade …`"
        )
