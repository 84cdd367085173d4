"""The workload of the command ``ingest``, in a module of its own: it imports Dagster, which needs memory and time."""

import os

from benchmarks.subprocess_timer import Work
from twap_pipeline.cli.ingest import ingest as command


def ingest_command(url: str, source_url: str, home: str) -> Work:
    """Prepare ``twap-pipeline ingest``: the Dagster runs that load every object of a source and refresh the orders.

    Args:
        url: The database.
        source_url: The source.
        home: Folder of the Dagster instance, which may exist.
    """
    os.environ |= {"DATABASE_URL": url, "TWAP_SOURCE_URL": source_url, "TWAP_HOME": home}

    def run() -> None:
        try:
            command.main(["--json"], standalone_mode=False)
        except SystemExit as end:
            if end.code:
                raise

    return run
