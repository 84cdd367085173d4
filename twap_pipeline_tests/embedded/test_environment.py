"""Integration tests of the embedded PostgreSQL: environment variables, unusual paths, and the password."""

import os
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


def test_first_start_ignores_environment_and_name_of_directory(tmp_path: Path) -> None:
    directory = tmp_path / 'Zürich Ωmega 数据 it\'s "$HOME" `id` \\ 100%' / "postgres"
    for _ in range(2):
        with running_client(directory, HOSTILE) as (_, url):
            assert query(url, "SHOW timezone") == "UTC"
    discard(directory)
