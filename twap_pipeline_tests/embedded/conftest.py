"""Fixtures of the tests of the embedded PostgreSQL: a new directory, and a stopped server.

``initdb`` runs once per session; a test that is about the first start uses `directory`. Copying a server takes as long
as a start: only tests that destroy it use `stopped_copy`.
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
from twap_pipeline_tests.embedded.client_process import assert_stopped, discard, query


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory without a server; at the end of the test no process may run in it."""
    directory = tmp_path / "home" / "postgres"
    yield directory
    discard(directory)


@pytest.fixture(scope="session")
def stopped_server() -> Iterator[Path]:
    """The directory of a server that has run, contains a row, and is stopped."""
    with reachable_directory() as parent:
        directory = parent / "postgres"
        with EmbeddedPostgres(directory) as server:
            query(server.start(), "CREATE TABLE numbers AS SELECT 42 AS value")
        yield directory


@pytest.fixture
def stopped(stopped_server: Path) -> Iterator[Path]:
    """The directory of `stopped_server`; the test may start it, and leaves it complete and stopped."""
    yield stopped_server
    assert_stopped(stopped_server)


@pytest.fixture
def stopped_copy(directory: Path, stopped_server: Path) -> Path:
    """A copy of `stopped_server` that the test may change."""
    make_directory(directory)
    paths = resolve_server_paths(directory, find_installation())
    for name in ("password", "port", "server.log"):
        shutil.copy2(stopped_server / name, directory)
    subprocess.run(["cp", "-a", (stopped_server / "data").resolve(), paths.data], check=True)  # also copies the owner
    return directory
