"""The data coverage."""

from pydantic import Field

from twap_pipeline.api.schemas.base import ApiModel
from twap_pipeline.api.schemas.field_types import Day, Timestamp


class CoverageDay(ApiModel):
    """The ingest log's row counts for the objects of one UTC day."""

    day: Day
    objects: int = Field(description="Ingested objects; 0 is a gap.")
    failed: int = Field(description="Objects whose ingestion failed.")
    parked: int = Field(description="Failed objects that are no longer retried.")
    rows_read: int
    rows_inserted: int = Field(description="Events that no earlier object contained.")
    rows_quarantined: int = Field(description="Rows that could not be parsed without loss; they are in the quarantine.")
    objects_pending_refresh: int = Field(description="Ingested objects that are not yet in `twap_orders`.")
    fill_objects: int = Field(description="Ingested objects of fills.")
    fill_objects_failed: int
    fill_rows: int = Field(description="Rows of these objects.")


class Coverage(ApiModel):
    """The data coverage: what was ingested, and what is missing."""

    start: Day | None = Field(description="First day; by default the first day with objects.")
    end: Day | None = Field(description="Day after the last day; by default the day after the last with objects.")
    objects: int
    failed: int
    parked: int
    rows_read: int
    rows_inserted: int
    rows_quarantined: int
    objects_pending_refresh: int
    missing_days: list[Day] = Field(description="Days without ingested objects between the first and the last day.")
    days_without_fills: list[Day] | None = Field(
        description="Days with objects of statuses, but none of fills; null if no object of fills was ingested."
    )
    last_object_at: Timestamp | None = Field(description="LastModified of the newest ingested object.")
    last_ingested_at: Timestamp | None
    last_event_at: Timestamp | None
    archived_months: list[str] = Field(
        description="Months whose events are in files: routes of events do not return them, orders are complete.",
        examples=[["2025-03"]],
    )
    days: list[CoverageDay]
