"""Where the database stands against this code's migrations, and how it gets there.

Here belong the pre-deploy gate (`require_head`) and the locked upgrade. The migrations themselves are in ``alembic/``.
"""

from dataclasses import dataclass

from alembic import command, context, op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, Engine, Numeric, inspect, text

from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.project import project_file
from twap_pipeline.storage.migration_locks import UPGRADE_DEADLINE_SECONDS, migration_lock
from twap_pipeline.storage.models import ALEMBIC_VERSION_TABLE, DAILY_STATS, metadata


@dataclass(frozen=True, slots=True)
class Revision:
    """The database's revision beside the code's.

    Args:
        current: Heads that the database records; none for an empty database.
        head: The code's head.
        known: Whether this code has every one of ``current``.
    """

    current: tuple[str, ...]
    head: str
    known: bool

    @property
    def at_head(self) -> bool:
        """Whether the database is exactly where this code needs it."""
        return self.current == (self.head,)

    @property
    def said(self) -> str:
        """Return in one line where the database stands and what to do."""
        at = ", ".join(self.current)
        if self.at_head:
            return f"at head {self.head}"
        if not self.current:
            return f"has no tables of ours yet, this code needs {self.head}: run `twap-pipeline migrate`"
        if self.known:
            return f"is at {at}, this code needs {self.head}: run `twap-pipeline migrate`"
        return (
            f"is at {at}, which this code (head {self.head}) does not know: deploy the code that has {at},"
            f" or run `alembic downgrade {self.head}` with that code"
        )


def migrations_config() -> Config:
    """Return Alembic's configuration, with the migrations of this very code."""
    return Config(str(project_file("alembic.ini")))


def read_revision(connection: Connection) -> Revision:
    """Return where the database stands."""
    scripts = ScriptDirectory.from_config(migrations_config())
    migration = MigrationContext.configure(connection, opts={"version_table": ALEMBIC_VERSION_TABLE})
    current = tuple(sorted(migration.get_current_heads()))
    known = {script.revision for script in scripts.walk_revisions()}
    return Revision(current, _one_head(scripts), set(current) <= known)


def code_head() -> str:
    """Return the revision that this code needs."""
    return _one_head(ScriptDirectory.from_config(migrations_config()))


def _one_head(scripts: ScriptDirectory) -> str:
    heads = scripts.get_heads()
    if len(heads) != 1:
        raise SchemaRevisionError(f"the migrations need one head and have {sorted(heads)}: run `alembic merge heads`")
    return heads[0]


def require_head(engine: Engine) -> Revision:
    """Return the revision if the database is at this code's head.

    Raises:
        SchemaRevisionError: It is empty, older or newer; both revisions and the command that mends it are named.
    """
    with engine.connect() as connection:
        revision = read_revision(connection)
    if not revision.at_head:
        raise SchemaRevisionError(f"the database {revision.said}")
    return revision


def drift(connection: Connection) -> list[str]:
    """Return how our tables differ from the declared ones, a line each; nothing when they agree."""
    migration = MigrationContext.configure(
        connection,
        opts={
            "version_table": ALEMBIC_VERSION_TABLE,
            "compare_type": types_differ,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name in metadata.tables,
        },
    )
    return [
        *map(_said, compare_metadata(migration, metadata)),
        *_constraint_drift(connection),
        *_view_drift(connection),
    ]


def _said(difference: object) -> str:
    """Return one of Alembic's differences in a few words: the operation that would mend it, and on what."""
    parts = difference[0] if isinstance(difference, list) else difference
    words = (getattr(part, "name", part) for part in parts if part is not None) if isinstance(parts, tuple) else [parts]
    return " ".join(str(word) for word in words if not isinstance(word, dict))


def types_differ(
    _context: object, _column: object, _declared: object, present: object, declared: object
) -> bool | None:
    """Tell Alembic of a NUMERIC with other limits than declared, which it would overlook; of the rest, nothing."""
    if isinstance(present, Numeric) and isinstance(declared, Numeric):
        return (present.precision, present.scale) != (declared.precision, declared.scale)
    return None


def _constraint_drift(connection: Connection) -> list[str]:
    """Return what Alembic does not compare: primary keys, and checks by name."""
    inspector = inspect(connection)
    found = []
    for name in sorted(set(metadata.tables) & set(inspector.get_table_names())):
        table = metadata.tables[name]
        key = [column.name for column in table.primary_key]
        if (present_key := inspector.get_pk_constraint(name)["constrained_columns"]) != key:
            found.append(f"the primary key of {name} is {present_key}, declared is {key}")
        checks = {str(item.name) for item in table.constraints if isinstance(item, CheckConstraint)}
        present_checks = {str(item["name"]) for item in inspector.get_check_constraints(name)}
        found += [f"{name} lacks the check {check}" for check in sorted(checks - present_checks)]
        found += [f"{name} has a check that is not declared, {check}" for check in sorted(present_checks - checks)]
    return found


def _view_drift(connection: Connection) -> list[str]:
    """Return how the view differs, by what PostgreSQL itself makes of the declared one; nothing is left of that."""
    definition = text("SELECT pg_get_viewdef(to_regclass(:name))")
    present = connection.scalar(definition, {"name": "twap_daily_stats"})
    if present is None:
        return ["the view twap_daily_stats is missing"]
    with connection.begin_nested() as savepoint:
        connection.exec_driver_sql(f"CREATE TEMP VIEW declared_view AS {DAILY_STATS}")
        declared = connection.scalar(definition, {"name": "declared_view"})
        savepoint.rollback()
    return [] if present == declared else ["the view twap_daily_stats is not as declared"]


def upgrade(engine: Engine, deadline_seconds: float = UPGRADE_DEADLINE_SECONDS) -> Revision:
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
            raise SchemaRevisionError(f"the database {before.said}")
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
