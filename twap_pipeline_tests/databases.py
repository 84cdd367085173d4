"""Databases and directories for tests that need their own: both are new on each call.

The fixtures that use them are in ``conftest``.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import URL

from twap_pipeline.storage.engine.url import parse_database_url

_numbers = itertools.count(1)


def create_database(server_url: str, template: str = "template1", options: LiteralString = "") -> URL:
    """Create a copy of the template database on the server, with options of CREATE DATABASE; return its URL."""
    name = f"test_{next(_numbers)}"
    if not template.startswith("template"):  # copying the files takes a third of the time; since PostgreSQL 15
        options = "STRATEGY FILE_COPY"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}").format(
        sql.Identifier(name), sql.Identifier(template), sql.SQL(options)
    )
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)
    return parse_database_url(server_url).set(database=name)


def drop_database(server_url: str, url: URL) -> None:
    """Delete a database and end its sessions: files that are deleted soon are not written to the disk."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(str(url.database)))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """Yield a new directory that other OS users can enter, and delete it together with the server data of its links.

    As root, the embedded PostgreSQL runs as another user and may keep its data elsewhere, behind a symbolic link.
    """
    directory = Path(tempfile.mkdtemp(prefix="twap-tests-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        for data in directory.glob("**/postgres/data"):
            if data.is_symlink():
                shutil.rmtree(data.resolve().parent)
        shutil.rmtree(directory)
