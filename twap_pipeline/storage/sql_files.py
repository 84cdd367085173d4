"""Reads the named queries of a ``.sql`` file that lies next to the module that executes them.

A file consists of queries. Each query begins with a line ``-- name: query_name`` and a line ``-- what it returns``::

    -- name: count_rows
    -- The number of stored events.
    SELECT count(*) FROM twap_status;

Parameters are SQLAlchemy's (``:name``). A fragment is an expression that several files need: a file contains its name
in braces, and the caller passes the expression. Statements that are built at run time do not belong in a file.
"""

import re
from functools import cache
from importlib.resources import files

_HEADER = re.compile(r"^-- name: *(?P<name>\w+) *\n-- *(?P<comment>\S.*)\n", re.MULTILINE)


@cache
def load_queries(package: str, file: str, **fragments: str) -> dict[str, str]:
    """Return query name → SQL text of a file, without comments above the query and without the final semicolon.

    Args:
        package: Dotted name of the package that contains the file.
        file: File name, for example ``merge.sql``.
        fragments: Name → SQL expression, which replaces the name in braces.

    Raises:
        ValueError: A header has no comment line, a name occurs twice, a query is empty, or the file has no query.
    """
    return parse_queries(files(package).joinpath(file).read_text("utf-8"), file, **fragments)


def parse_queries(text: str, source: str, **fragments: str) -> dict[str, str]:
    """Return query name → SQL text; see `load_queries`. ``source`` names the file in error messages."""
    for name, expression in fragments.items():
        text = text.replace(f"{{{name}}}", expression)
    headers = list(_HEADER.finditer(text))
    if not headers or len(headers) != text.count("-- name:"):
        raise ValueError(f"{source}: every query needs the lines '-- name: query_name' and '-- one-line comment'")
    queries: dict[str, str] = {}
    ends = [*(header.start() for header in headers[1:]), len(text)]
    for header, end in zip(headers, ends, strict=True):
        name, sql = header["name"], text[header.end() : end].strip().removesuffix(";")
        if not sql or name in queries:
            raise ValueError(f"{source}: query {name} is {'defined twice' if name in queries else 'empty'}")
        queries[name] = sql
    return queries
