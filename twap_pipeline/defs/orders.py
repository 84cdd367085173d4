"""The assets downstream of ``twap_status``: ``twap_orders`` (one row per order) and ``twap_daily_stats`` (a view).

A partition of ``twap_orders`` is a UTC day of objects: materializing it refreshes every order that has an event in an
object that was loaded since the last refresh, including orders that started earlier. ``twap_daily_stats`` is a view, so
that materializing a partition only records the statistics of that day. The SQL belongs to `storage.orders` and
`storage.reports`.
"""

import time
from datetime import date

import dagster as dg
from pydantic import Field

from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.columns import column_lineage, table_schema
from twap_pipeline.defs.data_sets import STATUS_FRESHNESS
from twap_pipeline.defs.failures import plain_failure
from twap_pipeline.defs.partition_metadata import daily_stats_metadata, orders_metadata
from twap_pipeline.defs.resources import DatabaseResource
from twap_pipeline.defs.uncounted_runs import tag_refused_run
from twap_pipeline.domain.order_columns import DAILY_STATS_COLUMNS, DAILY_STATS_SOURCES, ORDER_COLUMNS, ORDER_SOURCES
from twap_pipeline.storage.long_statements import statement_timeout
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline.storage.reports.daily_orders import daily_figures
from twap_pipeline.storage.reports.partition_state import orders_partition
from twap_pipeline.storage.schema import models

ORDERS_CODE_VERSION = "1"
"""Increase it when a code change makes the same events result in different orders."""


class RefreshConfig(dg.Config):
    """Which orders the run refreshes."""

    recompute: bool = Field(
        default=False,
        description="Derive every order of the selected partitions again from all of its events, also if they did not"
        " change: after a change of the code, or of rows by hand. Off: only orders with events that were loaded since"
        " the last refresh.",
    )


def build_orders_asset(
    catalog: AssetCatalog, partitions: dg.DailyPartitionsDefinition, max_partitions_per_run: int
) -> dg.AssetsDefinition:
    """Return the asset of the table ``twap_orders``, partitioned by UTC day of the objects."""

    @dg.asset(
        key=catalog.orders_key,
        deps=[catalog.status_key],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run),
        group_name=catalog.group,
        owners=list(catalog.owners),
        kinds={"postgres", "sql"},
        code_version=ORDERS_CODE_VERSION,
        freshness_policy=STATUS_FRESHNESS,
        pool="twap_orders",
        tags={"feed": "hyperliquid"},
        description=(
            "One row per order, computed from all events of the order in twap_status: requested size, final status and"
            " executed size. A partition refreshes each order with an event in an object of that day that was loaded"
            " since the last refresh; with recompute: true in the run's configuration, each order with an event there."
        ),
        metadata={
            "dagster/table_name": "twap_orders",
            "dagster/column_schema": table_schema(models.twap_orders, ORDER_COLUMNS, ORDER_SOURCES),
            "dagster/column_lineage": column_lineage(catalog.status_key, ORDER_SOURCES),
        },
    )
    def twap_orders(
        context: dg.AssetExecutionContext,
        config: RefreshConfig,
        database: dg.ResourceParam[DatabaseResource],
    ) -> dg.MaterializeResult[None]:
        with plain_failure(), tag_refused_run(context), database.engine_at_head() as engine:
            for partition_key in context.partition_keys:
                started = time.perf_counter()
                with (
                    engine.begin() as connection,
                    statement_timeout(
                        connection,
                        database.settings.maintenance_timeout_seconds,
                        f"refresh of twap_orders for {partition_key}",
                    ),
                ):
                    day = date.fromisoformat(partition_key)
                    result = refresh_orders(connection, day, recompute=config.recompute)
                    duration_seconds = time.perf_counter() - started
                    state = orders_partition(connection, day)
                metadata = orders_metadata(state, result, duration_seconds)
                context.add_asset_metadata(metadata, partition_key=partition_key)
        return dg.MaterializeResult()

    return twap_orders


def build_daily_stats_asset(
    catalog: AssetCatalog, partitions: dg.DailyPartitionsDefinition, max_partitions_per_run: int
) -> dg.AssetsDefinition:
    """Return the asset of the view ``twap_daily_stats``, partitioned by UTC day of the orders' start."""

    @dg.asset(
        key=catalog.daily_stats_key,
        deps=[catalog.orders_key],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run),
        group_name=catalog.group,
        owners=list(catalog.owners),
        kinds={"postgres", "view"},
        code_version=ORDERS_CODE_VERSION,
        freshness_policy=STATUS_FRESHNESS,
        tags={"feed": "hyperliquid"},
        description=(
            "Order counts, sizes and executed notional per start date, asset, side and current status. A view of"
            " twap_orders, which is always current: materializing a day records the day's figures as metadata."
        ),
        metadata={
            "dagster/table_name": "twap_daily_stats",
            "dagster/column_schema": table_schema(models.twap_daily_stats, DAILY_STATS_COLUMNS, DAILY_STATS_SOURCES),
            "dagster/column_lineage": column_lineage(catalog.orders_key, DAILY_STATS_SOURCES),
        },
    )
    def twap_daily_stats(
        context: dg.AssetExecutionContext,
        database: dg.ResourceParam[DatabaseResource],
    ) -> dg.MaterializeResult[None]:
        days = {partition_key: date.fromisoformat(partition_key) for partition_key in context.partition_keys}
        with plain_failure(), database.engine_at_head() as engine, engine.connect() as connection:
            summaries = daily_figures(connection, list(days.values()))
        for partition_key, day in days.items():
            context.add_asset_metadata(daily_stats_metadata(summaries[day]), partition_key=partition_key)
        return dg.MaterializeResult()

    return twap_daily_stats
