"""Which listed objects must be loaded before a month is archived."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from sqlalchemy import Engine

from twap_pipeline.domain.months import format_month, next_month
from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef, partition_date
from twap_pipeline.errors import TablePartitionError
from twap_pipeline.ingest.plan import plan
from twap_pipeline.storage.ingest_log import read_ingest_log


def require_loaded_month(
    engine: Engine, listing: Iterable[ObjectRef], month: date, key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS
) -> None:
    """Check that every listed object of a month and of the days around it is loaded.

    Raises:
        TablePartitionError: Objects are pending or parked.
    """
    first, last = month - timedelta(days=1), next_month(month) + timedelta(days=1)
    refs = [ref for ref in listing if first <= partition_date(ref, key_date_patterns) <= last]
    with engine.connect() as connection:
        planned = plan(refs, read_ingest_log(connection, [ref.key for ref in refs]))
    if missing := (*planned.pending, *planned.parked):
        raise TablePartitionError(
            f"{len(missing)} objects of {format_month(month)} or of the days around it are not loaded, for example"
            f" {missing[0].key}: run `twap-pipeline ingest`, then archive the month"
        )
