"""The times of a backfill's runs. Its own end is noticed late: the daemon looks every 30 seconds."""

from twap_pipeline.defs.event_log import BACKFILL_ID_TAG
from twap_pipeline_tests.dagster_client import DagsterWeb

_RUNS_QUERY = """
query { runsOrError(limit: 10000) { ... on Runs { results { startTime endTime tags { key value } } } } }
"""


def run_times(web: DagsterWeb, backfill_id: str) -> list[tuple[float, float]]:
    """Return start and end, in seconds of the epoch, of each run of a backfill that has ended."""
    runs = web.query(_RUNS_QUERY)["runsOrError"]["results"]
    tag = {"key": BACKFILL_ID_TAG, "value": backfill_id}  # sensors start other runs meanwhile
    return [(run["startTime"], run["endTime"]) for run in runs if tag in run["tags"]]
