"""Turns PostgreSQL's "permission denied" into what to do: the statement that grants the privilege, or another role."""

import re

from psycopg import sql
from sqlalchemy import Engine, text

from twap_pipeline.errors import ConfigurationError

ROLES_PAGE = "docs/reference/database-roles.md"

_STATEMENTS = (
    ("temporary tables in database", "GRANT TEMPORARY ON DATABASE {} TO {}"),
    ("permission denied for schema", "GRANT USAGE, CREATE ON SCHEMA {} TO {}"),
    ("permission denied for database", "GRANT CONNECT ON DATABASE {} TO {}"),
    ("permission denied for table", "GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}"),
    ("permission denied for view", "GRANT SELECT ON {} TO {}"),
)
_OWNER = text(
    "SELECT pg_get_userbyid(relowner), pg_has_role(relowner, 'USAGE'), current_user FROM pg_class"
    " WHERE oid = to_regclass(:table)"
)
_SUBJECT = re.compile(r"(?P<subject>[^\s\"]+|\"[^\"]+\")\s*$")


def grant_hint(message: str, role: str | None) -> str:
    """Return what to do about a missing privilege: the GRANT statement, if the message is one of PostgreSQL's English.

    Args:
        message: First line of the server's message, such as ``permission denied for schema public``.
        role: The user of the connection; None if the URL has none.
    """
    subject = _SUBJECT.search(message)
    for words, statement in _STATEMENTS:
        if words in message and subject is not None:
            names = subject["subject"].strip('"'), role or "the_role"
            granted = sql.SQL(statement).format(*map(sql.Identifier, names)).as_string()
            return f"grant the privilege: {granted}; see {ROLES_PAGE}"
    if "must be owner" in message:
        return f"connect as the owner of the tables; see {ROLES_PAGE}"
    return f"the privileges of each role are listed in {ROLES_PAGE}"


def require_owner(engine: Engine, table: str, action: str) -> None:
    """Return if the connected user has the privileges of the owner of a table.

    Without this check, PostgreSQL would refuse the first statement that lacks a privilege, and `grant_hint` would
    advise to grant it to a role that must not have it.

    Args:
        engine: The database.
        table: A table of the first schema of the ``search_path``.
        action: What needs the owner, for the error message.

    Raises:
        ConfigurationError: It has not. The message contains both roles.
    """
    with engine.connect() as connection:
        owner, is_owner, user = connection.execute(_OWNER, {"table": table}).one()
    if not is_owner:
        raise ConfigurationError(
            f"{action} changes the schema and needs the owner of {table}, {owner}; DATABASE_URL connects as {user}: run"
            f" it with the owner's URL; see {ROLES_PAGE}"
        )
