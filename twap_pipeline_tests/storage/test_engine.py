"""Database URLs in every accepted form, engines, and error messages without passwords."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import URL
from sqlalchemy.exc import OperationalError, ProgrammingError

from twap_pipeline.errors import ConfigurationError, DatabaseUnavailableError
from twap_pipeline.storage.engine.engine import make_engine, open_database, translate_connection_errors
from twap_pipeline.storage.engine.url import parse_database_url, redacted_url
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

PASSWORD = "p@s/s:%#?"
ENCODED = quote(PASSWORD, safe="")
SCHEMES = [
    "postgresql",
    "postgres",
    "postgresql+asyncpg",
    "postgresql+psycopg",
    "postgresql+psycopg2",
    "postgres+asyncpg",
]


def parts(text: str) -> tuple[str | None, str | None, str | None, int | None, str | None]:
    url = parse_database_url(text)
    return (url.username, url.password, url.host, url.port, url.database)


@pytest.mark.fault("M6")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("password", [PASSWORD, ENCODED], ids=["raw", "encoded"])
def test_url_form_and_password_encoding_do_not_matter(scheme: str, password: str) -> None:
    url = parse_database_url(f"{scheme}://user:{password}@host:5433/twap?sslmode=require")

    assert url == URL.create("postgresql", "user", PASSWORD, "host", 5433, "twap", {"sslmode": "require"})


@pytest.mark.fault("M6")
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
@examples(100)
@example(PASSWORD)
@example("@")
@example("%41")
@example("//")
def test_encoded_password_round_trips(password: str) -> None:
    assert parts(f"postgresql://user:{quote(password, safe='')}@host/twap")[1] == password


@pytest.mark.fault("M6")
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters="%"), min_size=1))
@examples(100)
@example("a@b/c?d#e:f")
@example("[::1]")
def test_raw_password_without_percent_sign_round_trips(password: str) -> None:
    assert parts(f"postgresql://user:{password}@host:5432/twap") == ("user", password, "host", 5432, "twap")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://", (None, None, None, None, None)),
        ("postgresql:///twap", (None, None, None, None, "twap")),
        ("postgresql://host", (None, None, "host", None, None)),
        ("postgresql://host/", (None, None, "host", None, None)),
        ("postgresql://host:5433/twap", (None, None, "host", 5433, "twap")),
        ("postgresql://user@host/twap", ("user", None, "host", None, "twap")),
        ("postgresql://user:@host/twap", ("user", "", "host", None, "twap")),
        ("postgresql://us%40er:p@host/twap", ("us@er", "p", "host", None, "twap")),
        ("postgresql://host/my%20db", (None, None, "host", None, "my db")),
        ("  postgresql://host/twap\n", (None, None, "host", None, "twap")),
    ],
)
def test_omitted_url_parts_are_none(text: str, expected: tuple[object, ...]) -> None:
    assert parts(text) == expected


@pytest.mark.fault("M6")
@pytest.mark.parametrize(
    ("host", "expected"), [("[::1]", "::1"), ("[2001:db8::1]", "2001:db8::1"), ("127.0.0.1", "127.0.0.1")]
)
def test_ip_address_is_parsed_as_host(host: str, expected: str) -> None:
    assert parts(f"postgresql://user:p@{host}:5433/twap") == ("user", "p", expected, 5433, "twap")
    assert parse_database_url(parse_database_url(f"postgresql://{host}/twap").render_as_string()).host == expected


@pytest.mark.fault("M6")
@pytest.mark.parametrize("credentials", ["", "user@", f"user:{PASSWORD}@"])
def test_socket_in_query_is_kept_in_query(credentials: str) -> None:
    url = parse_database_url(f"postgresql://{credentials}/twap?host=/var/run/postgresql&port=5433")

    assert (url.host, url.database) == (None, "twap")
    assert url.query == {"host": "/var/run/postgresql", "port": "5433"}


@pytest.mark.fault("M6")
def test_percent_encoded_socket_is_parsed_as_host() -> None:
    assert parts(f"postgresql://user:{PASSWORD}@%2Fvar%2Frun%2Fpostgresql/twap")[2] == "/var/run/postgresql"


@pytest.mark.fault("W9")
@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("h1:5432,h2:5433", {"host": "h1,h2", "port": "5432,5433"}),
        ("h1,h2", {"host": "h1,h2", "port": "5432,5432"}),
        ("h1:6432,h2,h3", {"host": "h1,h2,h3", "port": "6432,5432,5432"}),
        ("[::1]:5433,[2001:db8::2]", {"host": "::1,2001:db8::2", "port": "5433,5432"}),
        ("%2Fvar%2Frun,10.0.0.1:1", {"host": "/var/run,10.0.0.1", "port": "5432,1"}),
    ],
)
def test_several_hosts_are_passed_to_libpq(hosts: str, expected: dict[str, str]) -> None:
    url = parse_database_url(f"postgresql://user:{PASSWORD}@{hosts}/twap?target_session_attrs=read-write")
    engine = make_engine(url)

    _, arguments = engine.dialect.create_connect_args(engine.url)

    assert {name: arguments[name] for name in expected} == expected
    assert arguments["target_session_attrs"] == "read-write"
    assert redacted_url(url) == "postgresql://user:***@/twap?host={host}&port={port}".format(**expected)


@pytest.mark.fault("M6")
def test_query_parameters_are_kept() -> None:
    url = parse_database_url(
        "postgresql://host/twap?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&options=-c%20a%3Db"
    )

    assert url.query == {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem", "options": "-c a=b"}


@pytest.mark.fault("M6")
def test_asyncpg_ssl_parameter_becomes_sslmode() -> None:
    url = parse_database_url("postgresql+asyncpg://user:p@host/twap?ssl=require")

    assert url.query == {"sslmode": "require"}


@pytest.mark.fault("X2")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "canary",
        "mysql://user:canary@host/twap",
        "postgresql+pg8000://user:canary@host/twap",
        "postgresql:/user:canary@host/twap",
        "postgresql://user:canary@host:port/twap",
        "postgresql://user:canary@host:5432:5433/twap",
        "postgresql://user:canary@host1:1,host2:two/twap",
        "postgresql://user:canary@host1:1:2,host2/twap",
        "postgresql://user:canary@[::1/twap",
        "postgresql://user:canary",
        "sqlite:///canary",
    ],
)
def test_invalid_url_error_does_not_contain_url(text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_database_url(text)

    assert "canary" not in str(raised.value)
    assert "DATABASE_URL" in str(raised.value)
    assert raised.value.__cause__ is raised.value.__context__ is None


WAYS_TO_SHOW: dict[str, Callable[[URL], str]] = {
    "redacted_url": redacted_url,
    "str": str,
    "repr": repr,
    "engine": lambda url: repr(make_engine(url)),
    "engine's URL": lambda url: str(make_engine(url).url),
}
CANARIES = ["canary", "can@ry/canary:%#?", "%63anary"]
URLS = [f"postgresql://user:{canary}@host/twap?sslmode=require" for canary in CANARIES]


@pytest.mark.fault("X2")
@pytest.mark.parametrize("show", WAYS_TO_SHOW.values(), ids=WAYS_TO_SHOW)
@pytest.mark.parametrize("text", [*URLS, "postgresql://user@host/twap?password=canary"])
def test_password_is_absent_from_every_representation(show: Callable[[URL], str], text: str) -> None:
    assert "canary" not in show(parse_database_url(text))


def test_redacted_url_keeps_user_host_and_database() -> None:
    assert (
        redacted_url(parse_database_url(f"postgresql://user:{PASSWORD}@host:5433/twap"))
        == "postgresql://user:***@host:5433/twap"
    )


def test_make_engine_uses_psycopg_and_does_not_connect() -> None:
    engine = make_engine(parse_database_url(f"postgresql+asyncpg://user:{PASSWORD}@host.invalid/twap"))

    assert engine.url.drivername == "postgresql+psycopg"
    assert engine.url.password == PASSWORD
    assert engine.driver == "psycopg"


def test_configured_database_starts_no_server(tmp_path: Path) -> None:
    with open_database(f"postgres://user:{PASSWORD}@host/twap", tmp_path / "home") as (engine, url):
        assert url.password == engine.url.password == PASSWORD

    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("configured", [None, ""])
def test_unset_database_url_starts_embedded_server(
    configured: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "twap_pipeline.storage.engine.engine.ensure_running", lambda path: f"postgresql://host/{path.name}"
    )

    with open_database(configured, tmp_path) as (_, url):
        assert url.database == "postgres"


def test_open_database_disposes_engine_and_translates_errors() -> None:
    opened = open_database("postgresql://user:canary@host/twap", Path("unused"))
    engine, _ = opened.__enter__()
    pool, lost = engine.pool, OperationalError("SELECT 1", {}, ConnectionRefusedError())

    with pytest.raises(DatabaseUnavailableError, match="postgresql://user:\\*\\*\\*@host"):
        opened.__exit__(OperationalError, lost, None)

    assert engine.pool is not pool


@pytest.mark.fault("W7", "X2")
def test_refused_connection_error_has_hint_and_no_password() -> None:
    url = parse_database_url("postgresql://user:canary@host:5433/twap")
    lost = OperationalError("SELECT 1", {}, ConnectionRefusedError("connection refused\n\tIs the server running?"))

    with pytest.raises(DatabaseUnavailableError) as raised, translate_connection_errors(url):
        raise lost

    assert raised.value.__cause__ is lost
    assert str(raised.value) == (
        "cannot use the database postgresql://user:***@host:5433/twap: connection refused Is the server running?;"
        " check that the server runs and that DATABASE_URL is right"
    )


@pytest.mark.fault("X2")
def test_unknown_libpq_option_is_a_configuration_error() -> None:
    url = parse_database_url("postgresql://user:canary@127.0.0.1:1/twap?nonsense=canary")

    with pytest.raises(ConfigurationError, match="nonsense") as raised, translate_connection_errors(url):
        make_engine(url).connect()

    assert "canary" not in str(raised.value)


def test_statement_error_is_not_translated() -> None:
    wrong = ProgrammingError("SELECT nonsense", {}, ValueError("no such column"))

    with pytest.raises(ProgrammingError), translate_connection_errors(parse_database_url("postgresql://host/twap")):
        raise wrong


def test_unrelated_error_is_not_translated() -> None:
    with pytest.raises(KeyError), translate_connection_errors(parse_database_url("postgresql://host/twap")):
        raise KeyError
