"""Runs `alembic`, `twap-pipeline migrate` and schema creation as processes, of this code or of a changed copy of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import LiteralString

import psycopg
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from twap_pipeline.paths import ROOT
from twap_pipeline.storage.schema.revision_gate import migrations_config
from twap_pipeline_tests.storage.catalog import in_clear

DEADLINE_SECONDS = 30.0
BIN = Path(sys.executable).parent
CREATE = (sys.executable, "-m", "twap_pipeline.storage.schema.create")
REVISIONS = [script.revision for script in ScriptDirectory.from_config(migrations_config()).walk_revisions()][::-1]
HEAD = REVISIONS[-1]
MIGRATE = (BIN / "twap-pipeline", "migrate")


def run(
    *command: str | Path, url: URL | str | None = None, cwd: Path = ROOT, python_path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        url: DATABASE_URL; None leaves it unset.
        cwd: Working directory.
        python_path: PYTHONPATH; None leaves it unchanged.
    """
    variables = {} if url is None else {"DATABASE_URL": in_clear(url) if isinstance(url, URL) else url}
    if python_path is not None:
        variables["PYTHONPATH"] = str(python_path)
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False
    )


def alembic(url: URL | str | None, *arguments: str, cwd: Path = ROOT) -> str:
    """Run the `alembic` program, which must succeed; return its output."""
    done = run(BIN / "alembic", *arguments, url=url, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def refused_by_alembic(url: URL | str | None, *arguments: str, cwd: Path = ROOT) -> str:
    """Run the `alembic` program, which must fail with one line; return its output."""
    done = run(BIN / "alembic", *arguments, url=url, cwd=cwd)
    assert done.returncode != 0
    assert len(done.stdout.splitlines()) == 1, done.stdout
    assert done.stdout.startswith("FAILED: ")
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def copy_migrations(directory: Path) -> Path:
    """Copy the migrations, so that commands may write files; return the folder to run them in."""
    shutil.copytree(ROOT / "alembic", directory / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "alembic.ini", directory / "alembic.ini")
    return directory


def new_revision(directory: Path, slug: str) -> str:
    (path,) = (directory / "alembic" / "versions").glob(f"*_{slug}.py")
    return path.read_text("utf-8")


def change_code(code: Path, module: str, before: str, after: str) -> None:
    """Replace a part of a module of `twap_pipeline.storage.schema` in a copy of the code."""
    path = code / "twap_pipeline" / "storage" / "schema" / f"{module}.py"
    assert path.read_text("utf-8").count(before) == 1
    path.write_text(path.read_text("utf-8").replace(before, after), "utf-8")


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
