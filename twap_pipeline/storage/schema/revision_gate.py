"""Compares the database's Alembic revision with this code's head: the pre-deploy gate."""

from dataclasses import dataclass

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.paths import project_file
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE


@dataclass(frozen=True, slots=True)
class RevisionStatus:
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
    def message(self) -> str:
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


def read_revision(connection: Connection) -> RevisionStatus:
    """Return where the database stands."""
    scripts = ScriptDirectory.from_config(migrations_config())
    migration = MigrationContext.configure(connection, opts={"version_table": ALEMBIC_VERSION_TABLE})
    current = tuple(sorted(migration.get_current_heads()))
    known = {script.revision for script in scripts.walk_revisions()}
    return RevisionStatus(current, _one_head(scripts), set(current) <= known)


def code_head() -> str:
    """Return the revision that this code needs."""
    return _one_head(ScriptDirectory.from_config(migrations_config()))


def _one_head(scripts: ScriptDirectory) -> str:
    heads = scripts.get_heads()
    if len(heads) != 1:
        raise SchemaRevisionError(f"the migrations need one head and have {sorted(heads)}: run `alembic merge heads`")
    return heads[0]


def require_head(engine: Engine) -> RevisionStatus:
    """Return the revision if the database is at this code's head.

    Raises:
        SchemaRevisionError: It is empty, older or newer; both revisions and the command that mends it are named.
    """
    with engine.connect() as connection:
        revision = read_revision(connection)
    if not revision.at_head:
        raise SchemaRevisionError(f"the database {revision.message}")
    return revision
