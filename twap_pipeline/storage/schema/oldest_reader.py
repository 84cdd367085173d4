"""The oldest revision whose code can read the database, so that older processes keep serving during an upgrade.

A migration declares it as ``oldest_reader``. It is recorded as the comment of Alembic's version table: code that
does not contain the database's revision can read a comment, and needs no privilege for it.
"""

from collections.abc import Collection

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import ColumnElement, String, func, text

from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE

_COMMENT = sql.SQL("COMMENT ON TABLE {} IS {}")


def oldest_reader_column() -> ColumnElement[str | None]:
    """Return an expression of the recorded revision; NULL if there is none, or no version table."""
    return func.obj_description(func.to_regclass(ALEMBIC_VERSION_TABLE), "pg_class", type_=String)


def record_oldest_reader(migration: MigrationContext, scripts: ScriptDirectory, heads: Collection[str]) -> None:
    """Record the declaration of the database's new revision; under ``--sql``, print the statement.

    With several heads, or at base, no revision is recorded.

    Args:
        migration: In the transaction that changes the revision.
        scripts: The migrations.
        heads: The new revisions of the database.
    """
    module = scripts.get_revision(next(iter(heads))).module if len(heads) == 1 else None
    oldest = getattr(module, "oldest_reader", None)  # without a declaration, no earlier code reads the database
    statement = _COMMENT.format(sql.Identifier(ALEMBIC_VERSION_TABLE), sql.Literal(oldest))
    migration.impl.execute(text(statement.as_string()))
