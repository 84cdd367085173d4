"""Database URLs of every usual form, and the password in nothing that can be shown."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import URL
from sqlalchemy.exc import OperationalError, ProgrammingError

from twap_pipeline.errors import ConfigurationError, DatabaseUnavailableError
from twap_pipeline.storage.engine.engine import make_engine, resolve_or_start_database, translate_connection_errors
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
def test_every_form_names_the_same_database_whatever_the_password_holds(scheme: str, password: str) -> None:
    url = parse_database_url(f"{scheme}://user:{password}@host:5433/twap?sslmode=require")

    assert url == URL.create("postgresql", "user", PASSWORD, "host", 5433, "twap", {"sslmode": "require"})


@pytest.mark.fault("M6")
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
@examples(100)
@example(PASSWORD)
@example("@")
@example("%41")
@example("//")
def test_any_password_goes_round_when_it_is_encoded(password: str) -> None:
    assert parts(f"postgresql://user:{quote(password, safe='')}@host/twap")[1] == password


@pytest.mark.fault("M6")
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters="%"), min_size=1))
@examples(100)
@example("a@b/c?d#e:f")
@example("[::1]")
def test_any_password_without_a_percent_sign_goes_round_as_it_is(password: str) -> None:
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
def test_parts_that_are_left_out_are_none(text: str, expected: tuple[object, ...]) -> None:
    assert parts(text) == expected


@pytest.mark.fault("M6")
@pytest.mark.parametrize(
    ("host", "expected"), [("[::1]", "::1"), ("[2001:db8::1]", "2001:db8::1"), ("127.0.0.1", "127.0.0.1")]
)
def test_an_address_of_either_protocol_is_a_host(host: str, expected: str) -> None:
    assert parts(f"postgresql://user:p@{host}:5433/twap") == ("user", "p", expected, 5433, "twap")
    assert parse_database_url(parse_database_url(f"postgresql://{host}/twap").render_as_string()).host == expected


@pytest.mark.fault("M6")
@pytest.mark.parametrize("credentials", ["", "user@", f"user:{PASSWORD}@"])
def test_a_socket_may_be_named_in_the_query(credentials: str) -> None:
    url = parse_database_url(f"postgresql://{credentials}/twap?host=/var/run/postgresql&port=5433")

    assert (url.host, url.database) == (None, "twap")
    assert url.query == {"host": "/var/run/postgresql", "port": "5433"}


@pytest.mark.fault("M6")
def test_a_socket_may_be_named_as_the_host_encoded_as_libpq_has_it() -> None:
    assert parts(f"postgresql://user:{PASSWORD}@%2Fvar%2Frun%2Fpostgresql/twap")[2] == "/var/run/postgresql"


@pytest.mark.fault("M6")
def test_parameters_are_kept() -> None:
    url = parse_database_url(
        "postgresql://host/twap?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&options=-c%20a%3Db"
    )

    assert url.query == {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem", "options": "-c a=b"}


@pytest.mark.fault("M6")
def test_asyncpgs_own_word_for_sslmode_is_one_that_every_driver_understands() -> None:
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
        "postgresql://user:canary@host1:1,host2:2/twap",
        "postgresql://user:canary@[::1/twap",
        "postgresql://user:canary",
        "sqlite:///canary",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_never_repeated(text: str) -> None:
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
def test_the_password_is_in_nothing_that_can_be_shown(show: Callable[[URL], str], text: str) -> None:
    assert "canary" not in show(parse_database_url(text))


def test_what_is_shown_still_says_where() -> None:
    assert (
        redacted_url(parse_database_url(f"postgresql://user:{PASSWORD}@host:5433/twap"))
        == "postgresql://user:***@host:5433/twap"
    )


def test_an_engine_is_made_for_psycopg_and_connects_to_nothing_yet() -> None:
    engine = make_engine(parse_database_url(f"postgresql+asyncpg://user:{PASSWORD}@host.invalid/twap"))

    assert engine.url.drivername == "postgresql+psycopg"
    assert engine.url.password == PASSWORD
    assert engine.driver == "psycopg"


def test_a_configured_database_is_taken_and_nothing_started(tmp_path: Path) -> None:
    url = resolve_or_start_database(f"postgres://user:{PASSWORD}@host/twap", tmp_path / "home")

    assert url.password == PASSWORD
    assert not (tmp_path / "home").exists()


@pytest.mark.fault("W7", "X2")
def test_a_database_that_does_not_answer_is_named_with_a_way_out_and_without_its_password() -> None:
    url = parse_database_url("postgresql://user:canary@host:5433/twap")
    lost = OperationalError("SELECT 1", {}, ConnectionRefusedError("connection refused\n\tIs the server running?"))

    with pytest.raises(DatabaseUnavailableError) as raised, translate_connection_errors(url):
        raise lost

    assert raised.value.transient
    assert raised.value.__cause__ is lost
    assert str(raised.value) == (
        "cannot use the database postgresql://user:***@host:5433/twap: connection refused Is the server running?;"
        " check that the server runs and that DATABASE_URL is right"
    )


@pytest.mark.fault("X2")
def test_an_option_that_libpq_does_not_know_is_a_wrong_setting() -> None:
    url = parse_database_url("postgresql://user:canary@127.0.0.1:1/twap?nonsense=canary")

    with pytest.raises(ConfigurationError, match="nonsense") as raised, translate_connection_errors(url):
        make_engine(url).connect()

    assert "canary" not in str(raised.value)


def test_a_statement_that_is_wrong_is_no_fault_of_the_setting() -> None:
    wrong = ProgrammingError("SELECT nonsense", {}, ValueError("no such column"))

    with pytest.raises(ProgrammingError), translate_connection_errors(parse_database_url("postgresql://host/twap")):
        raise wrong


def test_any_other_error_is_left_as_it_is() -> None:
    with pytest.raises(KeyError), translate_connection_errors(parse_database_url("postgresql://host/twap")):
        raise KeyError
