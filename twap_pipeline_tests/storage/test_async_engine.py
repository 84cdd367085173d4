"""The query side's connections: every form of URL, sessions that only read, and schemas that change under them."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, Executable, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.storage.engine.async_engine import connect_arguments, make_async_engine, read
from twap_pipeline.storage.engine.url import parse_database_url

PASSWORD = "p@s/s:%#?é"


def on(url: URL, work: Callable[[AsyncEngine], Awaitable[Any]], *, timeout_seconds: float = 5) -> Any:
    """Return what some work finds with an engine of its own."""

    async def run() -> Any:
        engine = make_async_engine(url, pool_size=2, pool_timeout_seconds=2, statement_timeout_seconds=timeout_seconds)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def ask(url: URL, statement: str) -> Any:
    """Return the one value of a statement."""

    async def work(engine: AsyncEngine) -> Any:
        return (await read(engine, text(statement)))[0][0]

    return on(url, work)


@pytest.mark.fault("M6")
@pytest.mark.parametrize("form", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
@pytest.mark.parametrize("options", ["", "?sslmode=prefer", "?ssl=prefer&connect_timeout=5", "?application_name=mine"])
def test_every_form_of_url_connects(empty_database: URL, form: str, options: str) -> None:
    user = f"user_{empty_database.database}"
    with psycopg.connect(empty_database.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), PASSWORD))
    plain = f"{form}://{user}:{PASSWORD}@{empty_database.host}:{empty_database.port}/{empty_database.database}{options}"

    assert ask(parse_database_url(plain), "SELECT current_user") == user


@pytest.mark.fault("M6")
def test_tls_that_is_required_and_not_there_is_refused(empty_database: URL) -> None:
    with pytest.raises(ConnectionError, match="SSL"):
        ask(empty_database.update_query_dict({"sslmode": "require"}), "SELECT 1")


@pytest.mark.fault("M6")
def test_a_socket_host(empty_database: URL) -> None:
    folders = str(ask(empty_database, "SHOW unix_socket_directories"))
    arguments = connect_arguments(parse_database_url("postgresql://u@/twap?host=/run/postgresql&port=5433"))

    assert (arguments["host"], arguments["port"], arguments["database"]) == ("/run/postgresql", [5433], "twap")
    if folders:
        url = empty_database.set(host=None).update_query_dict({"host": folders.split(",", maxsplit=1)[0].strip()})
        assert ask(url, "SELECT 1") == 1


@pytest.mark.fault("M6")
@pytest.mark.unit
def test_options_of_libpq_become_what_asyncpg_wants() -> None:
    url = parse_database_url(
        "postgresql://u:p@a,b/twap?sslmode=verify-full&sslrootcert=/ca.pem&options=-c%20search_path%3Dx&keepalives=1"
        "&channel_binding=prefer&target_session_attrs=read-write"
    )

    assert connect_arguments(url) == {
        "host": ["a", "b"],
        "user": "u",
        "password": "p",
        "database": "twap",
        "dsn": "postgresql://?sslmode=verify-full&sslrootcert=%2Fca.pem",
        "target_session_attrs": "read-write",
        "server_settings": {"search_path": "x"},
    }


@pytest.mark.fault("M6")
@pytest.mark.unit
def test_an_option_that_nobody_knows_is_named_without_its_value() -> None:
    with pytest.raises(ConfigurationError, match="cannot follow: sslpasword") as caught:
        connect_arguments(parse_database_url("postgresql://u@h/d?sslpasword=hush"))

    assert "hush" not in str(caught.value)


def test_a_session_reads_in_utc_and_for_a_limited_time(empty_database: URL) -> None:
    assert ask(empty_database, "SELECT current_setting('TimeZone')") == "UTC"
    with pytest.raises(DBAPIError, match="read-only"):
        ask(empty_database, "CREATE TABLE written (n int)")

    async def too_long(engine: AsyncEngine) -> None:
        await read(engine, text("SELECT pg_sleep(30)"))

    with pytest.raises(DBAPIError, match="statement timeout"):
        on(empty_database, too_long, timeout_seconds=0.1)


@pytest.mark.fault("M7")
def test_a_statement_that_a_migration_made_stale_is_sent_again(empty_database: URL) -> None:
    with psycopg.connect(empty_database.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (a int)")
        connection.execute("INSERT INTO t VALUES (1)")

        async def work(engine: AsyncEngine) -> list[int]:
            statement: Executable = text("SELECT * FROM t")
            widths = [len((await read(engine, statement))[0])]
            connection.execute("ALTER TABLE t ADD COLUMN b text")
            widths.append(len((await read(engine, statement))[0]))
            return widths

        assert on(empty_database, work) == [1, 2]


def test_a_connection_that_was_lost_meanwhile_is_replaced(empty_database: URL) -> None:
    with psycopg.connect(empty_database.render_as_string(hide_password=False), autocommit=True) as connection:

        async def work(engine: AsyncEngine) -> bool:
            statement = text("SELECT pg_backend_pid()")
            before = (await read(engine, statement))[0][0]
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))
            return bool((await read(engine, statement))[0][0] != before)

        assert on(empty_database, work)


@pytest.mark.fault("X2")
def test_the_password_is_in_nothing_that_an_engine_shows(empty_database: URL) -> None:
    secret = str(empty_database.password)

    async def work(engine: AsyncEngine) -> str:
        return f"{engine!r} {engine.url!r} {engine.url.render_as_string(hide_password=False)}"

    assert not re.search(re.escape(secret), on(empty_database, work))
