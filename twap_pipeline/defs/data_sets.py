"""Per data set, the names, partitions and freshness limits from which `defs` builds Dagster definitions.

A builder takes one `DataSetDefinition` and builds the same kind of definition for each data set. What an object of a
data set contains belongs to `domain.data_set`; keys of other assets belong to `catalog`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.event_log import TimeWindowFreshnessPolicy
from twap_pipeline.defs.partitions import daily_partitions
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.settings import Settings


@dataclass(frozen=True)
class DataSetNames:
    """Names of the definitions of a data set. Users see them: they are stable.

    Names of ops are unique in a code location; run config refers to them.
    """

    source_asset: str
    ingest_job: str
    observe_job: str
    observe_op: str
    audit_job: str
    audit_op: str
    sensor: str
    schedule: str
    source_check: str


STATUS_NAMES = DataSetNames(
    source_asset="twap_s3_objects",
    ingest_job="ingest_twap_status",
    observe_job="observe_twap_s3_objects",
    observe_op="observe_source",
    audit_job="audit_twap_status",
    audit_op="run_audit",
    sensor="new_twap_objects",
    schedule="daily_ingest",
    source_check="ingest_log_matches_source",
)

FILLS_NAMES = DataSetNames(
    source_asset="twap_fill_objects",
    ingest_job="ingest_twap_fills",
    observe_job="observe_twap_fill_objects",
    observe_op="observe_fills_source",
    audit_job="audit_twap_fills",
    audit_op="run_fills_audit",
    sensor="new_twap_fills",
    schedule="daily_fills_ingest",
    source_check="fills_log_matches_source",
)


STATUS_FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=48), warn_window=timedelta(hours=30))
"""`daily_ingest` loads every 24 hours; six hours are for its run."""

FILLS_FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=60), warn_window=timedelta(hours=36))
"""`daily_fills_ingest` loads every 24 hours. The vendor publishes around 10:00 UTC, without a promise: a publication
that is up to twelve hours late is no warning, and two missing ones are overdue. The age is that of the load."""


@dataclass(frozen=True)
class DataSetDefinition:
    """A data set and what its Dagster definitions depend on.

    ``key_date_patterns`` are regular expressions that find the date in a key, in order of preference. ``freshness`` is
    how old the last materialization of any partition may be.
    """

    data_set: DataSet
    names: DataSetNames
    catalog: AssetCatalog
    partitions: dg.DailyPartitionsDefinition
    key_date_patterns: Sequence[str]
    freshness: TimeWindowFreshnessPolicy

    @property
    def source_key(self) -> dg.AssetKey:
        """The asset of the objects."""
        return self.catalog.key(self.names.source_asset)

    @property
    def table_key(self) -> dg.AssetKey:
        """The asset of the table."""
        return self.catalog.key(self.data_set.name)

    @property
    def start_date(self) -> date:
        """The first partition."""
        return self.partitions.start.date()


def data_set_definitions(settings: Settings) -> list[DataSetDefinition]:
    """Return the data sets: the statuses, then the fills if they have a source."""
    catalog = AssetCatalog(settings.asset_key_prefix_list, settings.asset_group, settings.asset_owners)
    key_date_patterns = resolve_key_date_patterns(settings.key_date_pattern)
    definitions = [
        DataSetDefinition(
            TWAP_STATUS,
            STATUS_NAMES,
            catalog,
            daily_partitions(settings.start_date, settings.end_date),
            key_date_patterns,
            STATUS_FRESHNESS,
        )
    ]
    if settings.resolved_fills_url is not None:
        partitions = daily_partitions(settings.fills_start_date, settings.fills_end_date)
        definitions.append(
            DataSetDefinition(TWAP_FILLS, FILLS_NAMES, catalog, partitions, key_date_patterns, FILLS_FRESHNESS)
        )
    return definitions
