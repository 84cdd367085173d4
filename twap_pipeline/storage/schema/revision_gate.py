"""Compares the database's Alembic revision with the head of this code: the check before a deployment or a run."""

from dataclasses import dataclass
from functools import cache

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.paths import project_file
from twap_pipeline.storage.engine.server import require_supported_server
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """The revisions of the database and of this code.

    Args:
        current: Recorded revisions; empty for an empty database, several for several heads.
        head: Head of this code.
        known: Whether this code contains every revision of ``current``.
    """

    current: tuple[str, ...]
    head: str
    known: bool

    @property
    def at_head(self) -> bool:
        """Whether the database is at the head of this code."""
        return self.current == (self.head,)

    @property
    def message(self) -> str:
        """The state and the command to run, in one line; a predicate of "the database"."""
        at = ", ".join(self.current)
        if self.at_head:
            return f"at head {self.head}"
        if not self.current:
            return f"has no recorded revision, this code needs {self.head}: run `twap-pipeline migrate`"
        if self.known:
            return f"is at {at}, this code needs {self.head}: run `twap-pipeline migrate`"
        return (
            f"is at {at}, which this code (head {self.head}) does not contain: deploy the code with {at},"
            f" or run `alembic downgrade {self.head}` with that code"
        )


def migrations_config() -> Config:
    """Return Alembic's configuration for the migrations of this code."""
    return Config(str(project_file("alembic.ini")))


def read_revision(connection: Connection) -> RevisionStatus:
    """Return the revision status of the database."""
    migration = MigrationContext.configure(connection, opts={"version_table": ALEMBIC_VERSION_TABLE})
    current = tuple(sorted(migration.get_current_heads()))
    head, known = _code_revisions()
    return RevisionStatus(current, head, known.issuperset(current))


def code_head() -> str:
    """Return the head of this code."""
    return _code_revisions()[0]


@cache
def _code_revisions() -> tuple[str, frozenset[str]]:
    """Return the head and all revisions of this code, which do not change while a process runs."""
    scripts = ScriptDirectory.from_config(migrations_config())
    heads = scripts.get_heads()
    if len(heads) != 1:
        raise SchemaRevisionError(f"the migrations need one head and have {sorted(heads)}: run `alembic merge heads`")
    return heads[0], frozenset(script.revision for script in scripts.walk_revisions())


def require_head(engine: Engine) -> RevisionStatus:
    """Return the revision status if the database is at the head of this code.

    Raises:
        ConfigurationError: The server is too old, or the database's encoding is not UTF8.
        SchemaRevisionError: It is not. The message contains both revisions and the command to run.
    """
    with engine.connect() as connection:
        require_supported_server(connection)
        revision = read_revision(connection)
    if not revision.at_head:
        raise SchemaRevisionError(f"the database {revision.message}")
    return revision
