"""Decides by the database's revision whether this code may write (at head), or only read (newer, but readable)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, select

from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.paths import project_file
from twap_pipeline.storage.engine.server_requirements import require_supported_server
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE
from twap_pipeline.storage.schema.oldest_reader import oldest_reader_column


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """The revisions of the database and of this code.

    Args:
        current: Recorded revisions; empty for an empty database, several for several heads.
        head: Head of this code.
        known: Whether this code contains every revision of ``current``.
        is_readable: Whether this code can read the database: it is at head, or newer and declares that this code can.
    """

    current: tuple[str, ...]
    head: str
    known: bool
    is_readable: bool

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
        if self.is_readable:
            return (
                f"is at {at}, which is newer than this code (head {self.head}): this code may read it, but not load or"
                f" change data; deploy the code with {at}"
            )
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
    return compare_revisions(migration.get_current_heads(), connection.scalar(select(oldest_reader_column())))


def compare_revisions(current: Iterable[str], oldest_reader: str | None) -> RevisionStatus:
    """Return the status of a database.

    Args:
        current: The recorded revisions.
        oldest_reader: The recorded oldest revision whose code can read the database; None if there is none.
    """
    current = tuple(sorted(current))
    head, revisions = _code_revisions()
    known = revisions.issuperset(current)
    is_readable = current == (head,) or (not known and oldest_reader in revisions)
    return RevisionStatus(current, head, known, is_readable)


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
    revision = _read_supported(engine)
    if not revision.at_head:
        raise SchemaRevisionError(f"the database {revision.message}")
    return revision


def require_readable(engine: Engine) -> RevisionStatus:
    """Return the revision status if this code can read the database. For code that writes, use `require_head`.

    Raises:
        ConfigurationError: The server is too old, or the database's encoding is not UTF8.
        SchemaRevisionError: It cannot. The message contains both revisions and the command to run.
    """
    revision = _read_supported(engine)
    if not revision.is_readable:
        raise SchemaRevisionError(f"the database {revision.message}")
    return revision


def _read_supported(engine: Engine) -> RevisionStatus:
    with engine.connect() as connection:
        require_supported_server(connection)
        return read_revision(connection)
