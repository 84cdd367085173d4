"""Turns PostgreSQL's "permission denied" into the statement that grants the privilege."""

import re

from psycopg import sql

ROLES_PAGE = "docs/reference/database-roles.md"

_STATEMENTS = (
    ("temporary tables in database", "GRANT TEMPORARY ON DATABASE {} TO {}"),
    ("permission denied for schema", "GRANT USAGE, CREATE ON SCHEMA {} TO {}"),
    ("permission denied for database", "GRANT CONNECT ON DATABASE {} TO {}"),
    ("permission denied for table", "GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}"),
    ("permission denied for view", "GRANT SELECT ON {} TO {}"),
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
