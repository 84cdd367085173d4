"""Deployers in processes of their own, of this code or of a copy that a test has changed."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import LiteralString

import psycopg
from sqlalchemy import URL

from twap_pipeline_tests.storage.test_migration_commands import BIN, in_clear

DEADLINE_SECONDS = 30.0
MIGRATE = (BIN / "twap-pipeline", "migrate")


def change_code(code: Path, module: str, right: str, other: str) -> None:
    """Replace a piece of a module of `twap_pipeline.storage` in a copy of the code."""
    path = code / "twap_pipeline" / "storage" / f"{module}.py"
    assert path.read_text("utf-8").count(right) == 1
    path.write_text(path.read_text("utf-8").replace(right, other), "utf-8")


def start(command: Sequence[str | Path], url: URL, code: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "DATABASE_URL": in_clear(url), "PYTHONPATH": str(code)}
    return subprocess.Popen(
        command, cwd=code, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def count_sessions(url: URL, condition: LiteralString) -> int:
    query: LiteralString = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND "
    with psycopg.connect(in_clear(url)) as connection:
        row = connection.execute(query + condition, [url.database]).fetchone()
        assert row is not None
        return int(row[0])
