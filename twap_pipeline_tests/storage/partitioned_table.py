"""Functions for the tests of ``twap_status`` partitioned by month."""

from sqlalchemy import Engine

from twap_pipeline_tests.storage.loaded_objects import scalar

NEXT_MONTH = 60 * 24 * 20
"""Minutes from the events of `event` to the month after theirs."""

_PARTITIONS = (
    "SELECT coalesce(string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text), '') FROM pg_inherits"
)
_PARTITIONS += " WHERE inhparent = 'twap_status'::regclass"


def ignore(_line: str) -> None:
    """Print no progress."""


def partitions(engine: Engine) -> list[str]:
    return str(scalar(engine, _PARTITIONS)).split()
