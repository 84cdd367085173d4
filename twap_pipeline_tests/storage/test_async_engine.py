"""The API's connections: every form of URL, read-only sessions, schema changes and lost connections."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from twap_pipeline.storage.engine.async_engine import fetch_all, make_async_engine
from twap_pipeline.storage.engine.url import parse_database_url

PASSWORD = "p@s/s:%#?é"


def run_with_engine(url: URL, work: Callable[[AsyncEngine], Awaitable[Any]], *, timeout_seconds: float = 5) -> Any:
    """Return the result of ``work`` with a new engine."""

    async def run() -> Any:
        engine = make_async_engine(url, pool_size=2, pool_timeout_seconds=2, statement_timeout_seconds=timeout_seconds)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def fetch_value(url: URL, statement: str) -> Any:
    """Return the only value of a statement."""

    async def work(engine: AsyncEngine) -> Any:
        return (await fetch_all(engine, text(statement)))[0][0]

    return run_with_engine(url, work)


def admin_connection(url: URL) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


@pytest.mark.fault("M6")
@pytest.mark.parametrize("form", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
@pytest.mark.parametrize("options", ["", "?sslmode=prefer", "?ssl=prefer&connect_timeout=5", "?application_name=mine"])
def test_async_engine_connects_with_every_url_form(empty_database: URL, form: str, options: str) -> None:
    user = f"user_{empty_database.database}"
    with admin_connection(empty_database) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), PASSWORD))
    plain = f"{form}://{user}:{PASSWORD}@{empty_database.host}:{empty_database.port}/{empty_database.database}{options}"

    assert fetch_value(parse_database_url(plain), "SELECT current_user") == user


@pytest.mark.fault("M6")
def test_async_engine_refuses_missing_tls(empty_database: URL) -> None:
    with pytest.raises(OperationalError, match="SSL"):
        fetch_value(empty_database.update_query_dict({"sslmode": "require"}), "SELECT 1")


@pytest.mark.fault("M6")
@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u@/twap?host=/run/postgresql&port=5433", {"host": "/run/postgresql", "port": "5433"}),
        ("postgresql://u@a,b/twap?target_session_attrs=any", {"host": "a,b", "target_session_attrs": "any"}),
        ("postgresql://u@h/twap?sslmode=verify-full&sslrootcert=/ca.pem", {"host": "h", "sslrootcert": "/ca.pem"}),
        ("postgresql://u@h/twap?keepalives=1&channel_binding=prefer", {"keepalives": "1", "channel_binding": "prefer"}),
    ],
)
def test_async_engine_passes_options_to_libpq(text: str, expected: dict[str, str]) -> None:
    engine = make_async_engine(
        parse_database_url(text), pool_size=1, pool_timeout_seconds=1, statement_timeout_seconds=1
    )

    _, arguments = engine.sync_engine.dialect.create_connect_args(engine.url)

    assert {name: str(arguments.get(name)) for name in expected} == expected


@pytest.mark.fault("M6")
def test_async_engine_url_options_replace_defaults(empty_database: URL) -> None:
    url = empty_database.update_query_dict(
        {"application_name": "mine", "options": "-c search_path=elsewhere -c statement_timeout=7s"}
    )

    assert fetch_value(url, "SHOW application_name") == "mine"
    assert fetch_value(url, "SHOW search_path") == "elsewhere"
    assert fetch_value(url, "SHOW statement_timeout") == "7s"
    assert fetch_value(url, "SHOW default_transaction_read_only") == "on"


@pytest.mark.fault("M6")
def test_async_engine_connect_timeout_of_url_applies(empty_database: URL) -> None:
    async def work(engine: AsyncEngine) -> list[str]:
        async with engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, psycopg.AsyncConnection)
            parameters = driver.info.get_parameters()
            return [parameters["connect_timeout"], parameters["fallback_application_name"]]

    assert run_with_engine(empty_database, work) == ["5", "twap_pipeline_api"]
    url = empty_database.update_query_dict({"connect_timeout": "9"})
    assert run_with_engine(url, work) == ["9", "twap_pipeline_api"]


@pytest.mark.fault("M6")
def test_async_engine_unknown_option_hides_value(empty_database: URL) -> None:
    with pytest.raises(DBAPIError, match="sslpasword") as caught:
        fetch_value(empty_database.update_query_dict({"sslpasword": "hush"}), "SELECT 1")

    assert "hush" not in str(caught.value)


def test_async_session_is_read_only_utc_and_time_limited(empty_database: URL) -> None:
    assert fetch_value(empty_database, "SELECT current_setting('TimeZone')") == "UTC"
    with pytest.raises(DBAPIError, match="read-only"):
        fetch_value(empty_database, "CREATE TABLE written (n int)")

    async def sleep(engine: AsyncEngine) -> None:
        await fetch_all(engine, text("SELECT pg_sleep(30)"))

    with pytest.raises(DBAPIError, match="statement timeout"):
        run_with_engine(empty_database, sleep, timeout_seconds=0.1)


@pytest.mark.fault("M7")
def test_fetch_all_after_a_new_column_returns_it(empty_database: URL) -> None:
    """More runs than psycopg's default ``prepare_threshold`` of five: a prepared statement would fail."""
    statement = text("SELECT * FROM t")
    with admin_connection(empty_database) as connection:
        connection.execute("CREATE TABLE t (a int)")
        connection.execute("INSERT INTO t VALUES (1)")

        async def work(engine: AsyncEngine) -> list[int]:
            widths = [len((await fetch_all(engine, statement))[0]) for _ in range(10)]
            connection.execute("ALTER TABLE t ADD COLUMN b text")
            return [*widths, len((await fetch_all(engine, statement))[0])]

        assert run_with_engine(empty_database, work) == [*[1] * 10, 2]


@pytest.mark.fault("M7")
def test_async_session_prepares_no_statement(empty_database: URL) -> None:
    async def work(engine: AsyncEngine) -> int:
        for _ in range(10):
            await fetch_all(engine, text("SELECT 1"))
        return int((await fetch_all(engine, text("SELECT count(*) FROM pg_prepared_statements")))[0][0])

    assert run_with_engine(empty_database, work) == 0


def test_fetch_all_replaces_a_lost_connection(empty_database: URL) -> None:
    with admin_connection(empty_database) as connection:

        async def work(engine: AsyncEngine) -> bool:
            statement = text("SELECT pg_backend_pid()")
            before = (await fetch_all(engine, statement))[0][0]
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))
            return bool((await fetch_all(engine, statement))[0][0] != before)

        assert run_with_engine(empty_database, work)


@pytest.mark.fault("X2")
def test_async_engine_repr_hides_the_password(empty_database: URL) -> None:
    secret = str(empty_database.password)

    async def work(engine: AsyncEngine) -> str:
        return f"{engine!r} {engine.url!r} {engine.url} {engine.sync_engine!r}"

    assert not re.search(re.escape(secret), run_with_engine(empty_database, work))
