"""Composes the statements that are the same for each data set: they differ in names of tables and columns only.

A ``.sql`` file contains the names as placeholders in braces. `compose` fills in those of every statement: {table} is
the table of the data set, {quarantine} the table of its quarantined rows, {key} the list of its key columns. A module
passes the placeholders that only its own statements contain. Values are parameters of the statement.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, CursorResult, text

from twap_pipeline.domain.data_set import DataSet


def execute(
    connection: Connection,
    query: str,
    data_set: DataSet,
    parameters: Mapping[str, object] | None = None,
    /,
    **placeholders: sql.Composable,
) -> CursorResult[*tuple[Any, ...]]:
    """Compose a named query for a data set and execute it; the parameter ``data_set`` is the name of the data set."""
    statement = text(compose(query, data_set, **placeholders))
    return connection.execute(statement, {"data_set": data_set.name, **(parameters or {})})


def compose(query: str, data_set: DataSet, **placeholders: sql.Composable) -> str:
    """Return the SQL text of a named query for a data set."""
    names = {
        "table": sql.Identifier(data_set.name),
        "quarantine": sql.Identifier(data_set.quarantine_table),
        "key": column_list(data_set.key_columns),
    }
    return sql.SQL(query).format(**names | placeholders).as_string()


def column_list(
    columns: Iterable[str],
    template: str = "{column}",
    templates: Mapping[str, str] | None = None,
    *,
    separator: str = ", ",
) -> sql.Composed:
    """Return a list of columns, each in the form of a template: ``stored.{column}``, ``{column}::text``.

    A template can also contain ``{name}``, the name of the column as a literal.

    Args:
        columns: The columns.
        template: Form of each column, with the placeholder ``{column}``.
        templates: Column → its form, for those with another form.
        separator: Text between two columns.
    """
    forms = templates or {}
    return sql.SQL(separator).join(
        sql.SQL(forms.get(column, template)).format(column=sql.Identifier(column), name=sql.Literal(column))
        for column in columns
    )
