"""The state of the pipeline, from the ingest log: what is loaded, what is not done, and the totals of all attempts.

The metrics and `twap-pipeline status` read these queries; both show the same numbers. Dagster's part is in
`defs.instance_state`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import Connection, text

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX
from twap_pipeline.storage.schema.models import PHASES
from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries("twap_pipeline.storage.reports", "pipeline_state.sql")


@dataclass(frozen=True, slots=True)
class PipelineState:
    """What is not done, and how new the data are. Times are None if there is no such object.

    Args:
        failed: Objects that are not loaded and that the next run loads again.
        failed_since: Oldest attempt of these objects.
        parked: Objects that failed `ATTEMPTS_MAX` times.
        orders_pending: Objects with events that ``twap_orders`` does not include.
        orders_pending_since: Oldest attempt of these objects.
        newest_event_at: Time of the newest event of the loaded objects.
        newest_object_at: LastModified of the newest loaded object.
        last_load_at: Time at which an object was loaded last.
    """

    failed: int
    failed_since: datetime | None
    parked: int
    orders_pending: int
    orders_pending_since: datetime | None
    newest_event_at: datetime | None
    newest_object_at: datetime | None
    last_load_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptTotals:
    """Totals of attempts to load an object; failed and replaced attempts are included.

    Args:
        loaded: Attempts that loaded a version.
        failed: Attempts that failed.
        row_counts: Rows by outcome.
        bytes_fetched: Bytes that attempts and deep audits received from the source.
        s3_fetches: Attempts that received bytes from S3; a deep audit counts as one.
        s3_bytes_fetched: Bytes that were received from S3.
        phase_seconds: Seconds per phase, in the order of `PHASES`.
    """

    loaded: int = 0
    failed: int = 0
    row_counts: RowCounts = field(default_factory=RowCounts)
    bytes_fetched: int = 0
    s3_fetches: int = 0
    s3_bytes_fetched: int = 0
    phase_seconds: tuple[float, ...] = (0.0,) * len(PHASES)

    def __add__(self, other: "AttemptTotals") -> "AttemptTotals":
        """Return the sum."""
        return AttemptTotals(
            self.loaded + other.loaded,
            self.failed + other.failed,
            self.row_counts + other.row_counts,
            self.bytes_fetched + other.bytes_fetched,
            self.s3_fetches + other.s3_fetches,
            self.s3_bytes_fetched + other.s3_bytes_fetched,
            tuple(a + b for a, b in zip(self.phase_seconds, other.phase_seconds, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class UnloadedObject:
    """An object whose last attempt failed; columns of the ingest log."""

    s3_object_key: str
    object_date: date | None
    failed_attempts: int
    error_text: str
    attempted_at: datetime
    data_set: str = TWAP_STATUS.name

    @property
    def is_parked(self) -> bool:
        """Whether no run loads the object until a person requests it."""
        return self.failed_attempts >= ATTEMPTS_MAX


@dataclass(frozen=True, slots=True)
class LoadedObjects:
    """The loaded objects, their UTC days, and the events that they inserted."""

    objects: int
    days: int
    first_day: date | None
    last_day: date | None
    events: int


def read_pipeline_state(connection: Connection, data_set: DataSet = TWAP_STATUS) -> PipelineState:
    """Return the state of a data set."""
    parameters = {"data_set": data_set.name, "attempts_max": ATTEMPTS_MAX}
    row = connection.execute(text(_QUERIES["state"]), parameters).one()
    return PipelineState(**row._mapping)


def missing_days(connection: Connection, first: date, last: date, data_set: DataSet = TWAP_STATUS) -> list[date]:
    """Return the UTC days from ``first`` to ``last`` without a loaded object; none if ``last`` is before ``first``."""
    parameters = {"first": first, "last": last, "data_set": data_set.name}
    return list(connection.execute(text(_QUERIES["missing_days"]), parameters).scalars())


def attempt_totals(
    connection: Connection, since: datetime, data_set: DataSet = TWAP_STATUS
) -> dict[date, AttemptTotals]:
    """Return UTC day of the attempts → totals, of the attempts of a data set from ``since``."""
    parameters = {"since": since, "data_set": data_set.name}
    return {
        row.day: AttemptTotals(
            row.loaded,
            row.failed,
            RowCounts(*(row._mapping[f"rows_{outcome}"] for outcome in RowCounts().as_dict())),
            row.bytes_fetched,
            row.s3_fetches,
            row.s3_bytes_fetched,
            tuple(row._mapping[f"{phase}_ms"] / 1000 for phase in PHASES),
        )
        for row in connection.execute(text(_QUERIES["attempt_totals"]), parameters)
    }


def unloaded_objects(connection: Connection, limit: int) -> Sequence[UnloadedObject]:
    """Return the objects of all data sets whose last attempt failed, parked ones first; at most ``limit``."""
    rows = connection.execute(text(_QUERIES["unloaded_objects"]), {"limit": limit})
    return [UnloadedObject(*row) for row in rows]


def loaded_objects(connection: Connection, data_set: DataSet = TWAP_STATUS) -> LoadedObjects:
    """Return the figures of the loaded objects of a data set. Reads the whole log."""
    row = connection.execute(text(_QUERIES["loaded_objects"]), {"data_set": data_set.name}).one()
    return LoadedObjects(**row._mapping)
