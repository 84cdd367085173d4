"""Runs `alembic` in this process, and programs that migrate or create a schema in processes."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import LiteralString
from unittest.mock import patch

import psycopg
from alembic.config import CommandLine, Config
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
    """Run a command of `alembic` in this process, which must succeed; return its output."""
    code, stdout, stderr = _run_alembic(url, *arguments, cwd=cwd)
    assert code == 0, stdout + stderr
    return stdout + stderr


def offline_sql(url: URL, *arguments: str) -> str:
    """Run a command of `alembic` with ``--sql`` in this process; return the script."""
    code, stdout, stderr = _run_alembic(url, *arguments, "--sql", cwd=ROOT)
    assert code == 0, stderr
    return stdout


def refused_by_alembic(url: URL | str | None, *arguments: str, cwd: Path = ROOT) -> str:
    """Run a command of `alembic` in this process, which must fail with one line; return its output."""
    code, stdout, stderr = _run_alembic(url, *arguments, cwd=cwd)
    assert code != 0
    assert len(stdout.splitlines()) == 1, stdout
    assert stdout.startswith("FAILED: ")
    assert "Traceback" not in stderr
    return stdout + stderr


def _run_alembic(url: URL | str | None, *arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr. A process of its own for each command would take seconds to import."""
    variables = {} if url is None else {"DATABASE_URL": in_clear(url) if isinstance(url, URL) else url}
    stdout, stderr = StringIO(), StringIO()
    program = CommandLine()
    options = program.parser.parse_args(arguments)
    with (
        chdir(cwd),
        patch.dict(os.environ, variables),
        patch.object(sys, "path", sys.path.copy()),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        _unchanged_logging(),
    ):
        try:
            file = options.config[0] if options.config else "alembic.ini"
            program.run_cmd(Config(file, ini_section=options.name, stdout=stdout, cmd_opts=options), options)
        except SystemExit as error:
            return int(error.code or 0), stdout.getvalue(), stderr.getvalue()
    return 0, stdout.getvalue(), stderr.getvalue()


@contextmanager
def _unchanged_logging() -> Iterator[None]:
    """Restore what the logging configuration of alembic.ini changes."""
    loggers = [logging.getLogger(name) for name in ("", "sqlalchemy.engine", "alembic")]
    before = [(logger.level, logger.handlers.copy()) for logger in loggers]
    try:
        yield
    finally:
        for logger, (level, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers[:] = handlers


def copy_migrations(directory: Path) -> Path:
    """Copy the migrations, so that commands may write files; return the folder to run them in."""
    shutil.copytree(ROOT / "alembic", directory / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "alembic.ini", directory / "alembic.ini")
    return directory


def new_revision(directory: Path, slug: str) -> str:
    (path,) = (directory / "alembic" / "versions").glob(f"*_{slug}.py")
    return path.read_text("utf-8")


def count_sessions(url: URL, condition: LiteralString) -> int:
    query: LiteralString = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND "
    with psycopg.connect(in_clear(url)) as connection:
        row = connection.execute(query + condition, [url.database]).fetchone()
        assert row is not None
        return int(row[0])
