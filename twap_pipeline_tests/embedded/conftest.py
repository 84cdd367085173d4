"""Fixtures of the tests of the embedded PostgreSQL: a new directory, and a copy of a stopped server.

``initdb`` runs once per session; a test that is about the first start uses `directory`.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.embedded.binaries import find_installation
from twap_pipeline.embedded.paths import make_directory, resolve_server_paths
from twap_pipeline_tests.databases import reachable_directory
from twap_pipeline_tests.embedded.client_process import discard, query


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory without a server; at the end of the test no process may run in it."""
    directory = tmp_path / "home" / "postgres"
    yield directory
    discard(directory)


@pytest.fixture(scope="session")
def stopped_server() -> Iterator[Path]:
    """The directory of a server that has run, contains a row, and is stopped; tests copy it."""
    with reachable_directory() as parent:
        directory = parent / "postgres"
        with EmbeddedPostgres(directory) as server:
            query(server.start(), "CREATE TABLE numbers AS SELECT 42 AS value")
        yield directory


@pytest.fixture
def stopped(directory: Path, stopped_server: Path) -> Path:
    """A directory whose server has run, contains a row, and is stopped."""
    make_directory(directory)
    paths = resolve_server_paths(directory, find_installation())
    for name in ("password", "port", "server.log"):
        shutil.copy2(stopped_server / name, directory)
    subprocess.run(["cp", "-a", (stopped_server / "data").resolve(), paths.data], check=True)  # also copies the owner
    return directory
