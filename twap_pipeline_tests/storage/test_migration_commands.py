"""Every command of the migration guide as a person runs it: the real programs, on a real database.

`run`, `alembic` and `refused_by_alembic` are what the other tests of migrations start programs with.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from twap_pipeline.paths import ROOT
from twap_pipeline.storage.engine.url import parse_database_url, redacted_url
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE
from twap_pipeline.storage.schema.revision_gate import migrations_config, require_head
from twap_pipeline_tests.conftest import create_database
from twap_pipeline_tests.embedded.client_process import discard
from twap_pipeline_tests.storage.test_schema import connected, describe, described_tables, execute, upgrade_to

BIN = Path(sys.executable).parent
INIT = (sys.executable, "-m", "twap_pipeline.storage.schema.create")
REVISIONS = [script.revision for script in ScriptDirectory.from_config(migrations_config()).walk_revisions()][::-1]
HEAD = REVISIONS[-1]

PASSWORD = "p@s/s:%#?"
ENCODED = quote(PASSWORD, safe="")
FORMS = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg")


def in_clear(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def run(
    *command: str | Path, url: URL | str | None = None, cwd: Path = ROOT, python_path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        url: What DATABASE_URL says; none leaves it as it is, which is unset.
        cwd: Where.
        python_path: What goes before the checkout among the places of imports.
    """
    named = {} if url is None else {"DATABASE_URL": in_clear(url) if isinstance(url, URL) else url}
    if python_path is not None:
        named["PYTHONPATH"] = str(python_path)
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **named}, capture_output=True, text=True, timeout=60, check=False
    )


def alembic(url: URL | str | None, *arguments: str, cwd: Path = ROOT) -> str:
    """Run the `alembic` program, which must succeed; return all that it says."""
    done = run(BIN / "alembic", *arguments, url=url, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def refused_by_alembic(url: URL | str | None, *arguments: str, cwd: Path = ROOT) -> str:
    """Run the `alembic` program, which must refuse in one line; return all that it says."""
    done = run(BIN / "alembic", *arguments, url=url, cwd=cwd)
    assert done.returncode != 0
    assert len(done.stdout.splitlines()) == 1, done.stdout
    assert done.stdout.startswith("FAILED: ")
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def recorded(url: URL) -> list[str]:
    """Return the revisions that a database records, as a new connection sees them; none without Alembic's table."""
    with psycopg.connect(in_clear(url)) as connection:
        if connection.execute("SELECT to_regclass(%s)", [ALEMBIC_VERSION_TABLE]).fetchone() == (None,):
            return []
        return [revision for (revision,) in connection.execute(f"SELECT version_num FROM {ALEMBIC_VERSION_TABLE}")]


def copy_migrations(directory: Path) -> Path:
    """Copy what a command may write to; return the folder to run it in."""
    shutil.copytree(ROOT / "alembic", directory / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "alembic.ini", directory / "alembic.ini")
    return directory


def new_revision(directory: Path, slug: str) -> str:
    (path,) = (directory / "alembic" / "versions").glob(f"*_{slug}.py")
    return path.read_text("utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the migrations, in which commands may make files."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    return copy_migrations(directory)


def test_upgrade_head_brings_an_empty_database_to_head_and_then_does_nothing(
    database: URL, empty_database: URL
) -> None:
    alembic(empty_database, "upgrade", "head")

    assert describe(empty_database) == describe(database)
    assert "Running upgrade" not in alembic(empty_database, "upgrade", "head")


def test_upgrade_by_one_and_downgrade_by_one_are_one_revision_each(empty_database: URL) -> None:
    for revision in REVISIONS:
        alembic(empty_database, "upgrade", "+1")
        assert recorded(empty_database) == [revision]

    alembic(empty_database, "downgrade", "-1")
    assert recorded(empty_database) == [REVISIONS[-2]]


def test_current_names_the_revision_and_says_when_it_is_the_head(database: URL, empty_database: URL) -> None:
    assert f"{HEAD} (head)" in alembic(database, "current")
    assert run(BIN / "alembic", "current", url=empty_database).stdout == ""


def test_downgrade_001_and_downgrade_base_go_there(database: URL) -> None:
    alembic(database, "downgrade", "001")
    assert recorded(database) == ["001"]

    alembic(database, "downgrade", "base")
    assert recorded(database) == []
    assert described_tables(database) == []


def test_history_verbose_tells_every_revision_with_its_purpose(database: URL) -> None:
    history = alembic(database, "history", "--verbose")

    assert [line.split()[1] for line in history.splitlines() if line.startswith("Rev: ")] == REVISIONS[::-1]
    assert "Initial schema: the TWAP statuses and the ingest log." in history


def test_stamp_records_a_revision_and_touches_no_table(empty_database: URL) -> None:
    alembic(empty_database, "stamp", "001")

    assert recorded(empty_database) == ["001"]
    assert described_tables(empty_database) == []


def test_check_is_content_at_head_and_changes_nothing(database: URL) -> None:
    before = describe(database)

    assert "No new upgrade operations detected." in alembic(database, "check")
    assert describe(database) == before


def test_check_refuses_an_older_database_and_leaves_an_empty_one_empty(empty_database: URL) -> None:
    assert "Target database is not up to date" in refused_by_alembic(empty_database, "check")
    assert describe(empty_database) == []


@pytest.mark.fault("M5")
def test_check_refuses_an_altered_table_and_names_it(database: URL) -> None:
    execute(database, "ALTER TABLE twap_status ALTER size_executed TYPE NUMERIC(20, 4)")

    assert "'twap_status', 'size_executed'" in refused_by_alembic(database, "check")


def test_revision_makes_a_file_that_upgrades_and_downgrades(database: URL, checkout: Path) -> None:
    alembic(database, "revision", "-m", "A thing to do", cwd=checkout)

    made = new_revision(checkout, "a_thing_to_do")
    assert made.startswith('"""A thing to do\n')
    assert f"down_revision: str | Sequence[str] | None = '{HEAD}'" in made
    alembic(database, "upgrade", "head", cwd=checkout)
    alembic(database, "downgrade", "-1", cwd=checkout)
    assert recorded(database) == [HEAD]


def test_revision_autogenerate_finds_nothing_at_head(database: URL, checkout: Path) -> None:
    alembic(database, "revision", "--autogenerate", "-m", "nothing", cwd=checkout)

    made = new_revision(checkout, "nothing")
    assert "op." not in made
    assert made.count("\n    pass\n") == 2


def test_revision_autogenerate_finds_what_differs_and_its_file_mends_it(database: URL, checkout: Path) -> None:
    execute(database, "DROP INDEX twap_status_asset_idx")
    execute(database, "ALTER TABLE twap_status DROP COLUMN status_error")

    alembic(database, "revision", "--autogenerate", "-m", "mend", cwd=checkout)
    alembic(database, "upgrade", "head", cwd=checkout)

    alembic(database, "check", cwd=checkout)


@pytest.mark.fault("M5")
def test_two_heads_are_refused_until_they_are_merged(database: URL, checkout: Path) -> None:
    alembic(database, "revision", "--head", "001", "--splice", "-m", "side", cwd=checkout)
    assert "001 (branchpoint)" in alembic(database, "branches", cwd=checkout)
    assert "Multiple head revisions are present" in refused_by_alembic(database, "upgrade", "head", cwd=checkout)

    alembic(database, "merge", "heads", "-m", "both", cwd=checkout)
    alembic(database, "upgrade", "head", cwd=checkout)

    assert f"Revision ID: {recorded(database)[0]}" in new_revision(checkout, "both")


def test_a_revision_that_this_code_does_not_have_is_refused(database: URL) -> None:
    execute(database, f"UPDATE {ALEMBIC_VERSION_TABLE} SET version_num = '999'")

    assert "Can't locate revision identified by '999'" in refused_by_alembic(database, "upgrade", "head")


@pytest.mark.fault("M5")
@pytest.mark.parametrize("start", ["base", *REVISIONS[:-1]])
def test_offline_sql_executed_elsewhere_gives_head(database: URL, empty_database: URL, start: str) -> None:
    if start != "base":
        upgrade_to(empty_database, start)

    done = run(BIN / "alembic", "upgrade", f"{start}:head", "--sql", url=database.set(port=1))
    execute_one_by_one(empty_database, done.stdout)

    assert describe(empty_database) == describe(database)


@pytest.mark.fault("M5")
def test_offline_sql_of_a_downgrade_leaves_nothing(database: URL) -> None:
    done = run(BIN / "alembic", "downgrade", "head:base", "--sql", url=database.set(port=1))
    execute_one_by_one(database, done.stdout)

    assert described_tables(database) == []


def execute_one_by_one(url: URL, script: str) -> None:
    """Run a script as psql does: what works CONCURRENTLY cannot be one of several statements sent at once."""
    with psycopg.connect(in_clear(url), autocommit=True) as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())


def test_the_folder_alembic_does_not_shadow_the_package(database: URL) -> None:
    assert f"{HEAD} (head)" in run(sys.executable, "-m", "alembic", "current", url=database).stdout


def test_alembic_runs_from_any_folder_when_told_its_configuration(database: URL, tmp_path: Path) -> None:
    assert f"{HEAD} (head)" in alembic(database, "-c", str(ROOT / "alembic.ini"), "current", cwd=tmp_path)


def test_init_gives_head_and_an_upgrade_afterwards_does_nothing(database: URL, empty_database: URL) -> None:
    done = run(*INIT, url=empty_database)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f": schema created, stamped {HEAD}\n")
    assert "Running upgrade" not in alembic(empty_database, "upgrade", "head")
    assert describe(empty_database) == describe(database)


def test_init_refuses_a_database_that_has_our_tables_in_one_line(database: URL) -> None:
    before = describe(database)

    done = run(*INIT, url=database)

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the database already holds etl_s3_ingest_log, ")
    assert "twap-pipeline migrate" in line
    assert describe(database) == before


def test_of_two_inits_at_once_one_succeeds_and_the_other_is_refused(empty_database: URL) -> None:
    environment = {**os.environ, "DATABASE_URL": in_clear(empty_database)}
    both = [subprocess.Popen(INIT, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]

    errors = "".join(process.communicate(timeout=60)[1] for process in both)

    assert sorted(process.returncode for process in both) == [0, 1]
    assert len(errors.splitlines()) == 1
    assert "already holds" in errors


@pytest.fixture(scope="module")
def guarded(server_url: str) -> URL:
    """A database at head whose owner has a difficult password."""
    url = create_database(server_url)
    role = f"canary_{url.database}"
    execute(url, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; ALTER DATABASE {url.database} OWNER TO {role}")
    owned = url.set(username=role, password=PASSWORD)
    upgrade_to(owned, "head")
    return owned


def written(url: URL, password: str, scheme: str = "postgresql", query: str = "", port: int = 0) -> str:
    """Write a URL as a person might, the password as it stands."""
    return f"{scheme}://{url.username}:{password}@{url.host}:{port or url.port}/{url.database}{query}"


def assert_secret(text: str) -> None:
    for fragment in ("p@s", "@s/s:", "%40s", "s%2Fs", "%3A%25", ":%#?"):
        assert fragment not in text


@pytest.mark.fault("M6")
@pytest.mark.parametrize("password", [PASSWORD, ENCODED], ids=["raw", "encoded"])
@pytest.mark.parametrize("scheme", FORMS)
def test_every_form_of_url_connects(guarded: URL, scheme: str, password: str) -> None:
    url = parse_database_url(written(guarded, password, scheme))

    with connected(url) as engine:
        assert require_head(engine).at_head

    assert_secret(redacted_url(url))


@pytest.mark.fault("M6")
@pytest.mark.parametrize(("scheme", "password"), [*((scheme, PASSWORD) for scheme in FORMS), (FORMS[0], ENCODED)])
def test_alembic_takes_every_form_of_url_and_shows_no_password(guarded: URL, scheme: str, password: str) -> None:
    said = alembic(written(guarded, password, scheme), "current")

    assert f"{HEAD} (head)" in said
    assert_secret(said)


@pytest.mark.fault("M6")
def test_sslmode_is_understood_in_a_url_for_asyncpg_too(guarded: URL) -> None:
    said = alembic(written(guarded, ENCODED, "postgresql+asyncpg", "?sslmode=prefer"), "current")

    assert f"{HEAD} (head)" in said


@pytest.mark.fault("M6")
@pytest.mark.parametrize("password", [PASSWORD, ENCODED], ids=["raw", "encoded"])
@pytest.mark.parametrize("program", ["alembic", "init"])
def test_an_unreachable_server_is_named_in_one_line_without_the_password(
    guarded: URL, program: str, password: str
) -> None:
    url = written(guarded, password, port=1)
    said = refused_by_alembic(url, "upgrade", "head") if program == "alembic" else run(*INIT, url=url).stderr

    assert f"cannot use the database postgresql://{guarded.username}:***@{guarded.host}:1/{guarded.database}" in said
    assert "Traceback" not in said
    assert_secret(said)


@pytest.mark.fault("M6")
@pytest.mark.parametrize(
    ("password", "query", "reason"),
    [
        (f"{PASSWORD}wrong", "", "password authentication failed"),
        (PASSWORD, "?sslmode=require", "server does not support SSL"),
        (PASSWORD, "?nonsense=1", 'invalid connection option "nonsense"'),
    ],
    ids=["wrong password", "no TLS", "unknown option"],
)
def test_a_refused_connection_says_why_without_the_password(
    guarded: URL, password: str, query: str, reason: str
) -> None:
    said = refused_by_alembic(written(guarded, password, query=query), "current")

    assert reason in said
    assert_secret(said)


@pytest.mark.fault("M6")
def test_what_is_no_postgresql_url_is_refused_without_repeating_it() -> None:
    said = refused_by_alembic(f"mysql://canary:{PASSWORD}@127.0.0.1/db", "current")

    assert "DATABASE_URL is not a PostgreSQL URL" in said
    assert_secret(said)


def set_ini_url(checkout: Path, url: str) -> None:
    ini = checkout / "alembic.ini"
    ini.write_text(ini.read_text("utf-8").replace("[alembic]\n", f"[alembic]\nsqlalchemy.url = {url}\n"), "utf-8")


def test_database_url_beats_alembic_ini(database: URL, empty_database: URL, checkout: Path) -> None:
    set_ini_url(checkout, in_clear(empty_database))

    alembic(database, "upgrade", "head", cwd=checkout)

    assert describe(empty_database) == []


@pytest.mark.fault("M6")
@pytest.mark.parametrize(
    "password", [PASSWORD, ENCODED, ENCODED.replace("%", "%%")], ids=["raw", "encoded", "encoded and doubled"]
)
def test_alembic_ini_beats_the_embedded_database_whatever_its_password(
    guarded: URL, checkout: Path, password: str
) -> None:
    set_ini_url(checkout, written(guarded, password))

    assert f"{HEAD} (head)" in alembic(None, "current", cwd=checkout)

    assert not Path(os.environ["TWAP_HOME"]).exists()


@pytest.mark.fault("M6")
def test_an_unreachable_server_of_alembic_ini_is_named_without_the_password(guarded: URL, checkout: Path) -> None:
    set_ini_url(checkout, written(guarded, ENCODED, port=1))

    said = refused_by_alembic(None, "current", cwd=checkout)

    assert f"{guarded.username}:***@" in said
    assert_secret(said)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of local state for an embedded database."""
    home = tmp_path / "home"
    monkeypatch.setenv("TWAP_HOME", str(home))
    yield home
    discard(home / "postgres")


@pytest.mark.usefixtures("home")
def test_with_nothing_configured_alembic_uses_the_embedded_database() -> None:
    assert f"Running upgrade {REVISIONS[-2]} -> {HEAD}" in alembic(None, "upgrade", "head")
