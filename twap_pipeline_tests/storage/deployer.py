"""Deployers in their own processes: they upgrade a database as ``twap-pipeline migrate`` does, and can be killed.

They are forked from a server process that has imported all modules, so that a deployer starts in milliseconds.
"""

from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sqlalchemy import URL

from twap_pipeline.errors import TwapPipelineError
from twap_pipeline.paths import ROOT
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema import revision_gate
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.fork_server import processes
from twap_pipeline_tests.mutants import Mutant, active_mutant
from twap_pipeline_tests.storage.catalog import in_clear


class Deployer:
    """A running process that upgrades a database.

    Args:
        url: The database.
        migrations: Folder that contains ``alembic`` and ``alembic.ini``.
    """

    def __init__(self, url: URL, migrations: Path = ROOT) -> None:
        self._output, output = processes.Pipe(duplex=False)
        args = (in_clear(url), migrations, active_mutant(), output)
        self._process = processes.Process(target=_deploy, args=args, daemon=True)
        self._process.start()
        output.close()

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the process; return whether it has ended."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def end(self) -> tuple[int | None, str]:
        """Kill the process if it runs; return its exit status, which is negative after a kill, and its message."""
        self._process.kill()
        self._process.join()
        try:
            return self._process.exitcode, self._output.recv()
        except EOFError:
            return self._process.exitcode, ""


def _deploy(url: str, migrations: Path, mutant: Mutant | None, output: "Connection[str, str]") -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revision_gate, "project_file", lambda name: migrations / name)
        if mutant is not None:
            mutant(patch)
        try:
            output.send(upgrade(make_engine(parse_database_url(url))).message)
        except TwapPipelineError as error:
            output.send(str(error))
            raise SystemExit(1) from error
