"""The assets downstream of ``twap_status``: one row per order, and the daily figures over the orders.

A partition of the orders is a day of objects: materializing it brings every order that those objects have an event of
up to date, also orders of earlier days. The daily figures are a view, always as true as the orders; materializing a
day of them shows its figures here.
"""

import time
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from twap_pipeline.defs.assets import GROUP, OWNERS, STATUS_KEY, table_schema
from twap_pipeline.defs.markdown import bars, table
from twap_pipeline.defs.resources import DatabaseResource, SchemaGuard
from twap_pipeline.domain.orders import DAILY_STATS_COLUMNS, ORDER_COLUMNS
from twap_pipeline.storage.schema import models as tables

if TYPE_CHECKING:
    from twap_pipeline.storage.reports.daily_orders import DailyOrderSummary

ORDERS_KEY = dg.AssetKey("twap_orders")
DAILY_STATS_KEY = dg.AssetKey("twap_daily_stats")
ORDERS_CODE_VERSION = "1"
"""Raised when the same events give other orders."""


def build_orders_asset(partitions: dg.DailyPartitionsDefinition, max_partitions_per_run: int) -> dg.AssetsDefinition:
    """Return the order-level table, refreshed by UTC day of the objects."""

    @dg.asset(
        key=ORDERS_KEY,
        deps=[STATUS_KEY],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run),
        group_name=GROUP,
        owners=list(OWNERS),
        kinds={"postgres", "sql"},
        code_version=ORDERS_CODE_VERSION,
        pool="twap_orders",
        tags={"feed": "hyperliquid"},
        description=(
            "One row per order: what it asked for, how it ended and what of it was executed, from all of its events in"
            " twap_status. A day's partition refreshes every order that the day's objects have an event of."
        ),
        metadata={
            "dagster/table_name": "twap_orders",
            "dagster/column_schema": table_schema(tables.twap_orders, ORDER_COLUMNS),
        },
    )
    def twap_orders(
        context: dg.AssetExecutionContext, database: DatabaseResource, schema_guard: SchemaGuard
    ) -> dg.MaterializeResult[None]:
        from twap_pipeline.storage.orders.refresh import refresh_orders

        with database.engine() as engine:
            schema_guard.require_head(engine)
            for day in context.partition_keys:
                started = time.perf_counter()
                with engine.begin() as connection:
                    done = refresh_orders(connection, date.fromisoformat(day))
                metadata = {
                    "objects": done.objects,
                    "orders inserted": done.inserted,
                    "orders updated": done.updated,
                    "seconds": round(time.perf_counter() - started, 3),
                }
                context.add_asset_metadata(metadata, partition_key=day)
        return dg.MaterializeResult()

    return twap_orders


def build_daily_stats_asset(
    partitions: dg.DailyPartitionsDefinition, max_partitions_per_run: int
) -> dg.AssetsDefinition:
    """Return the daily figures, shown by UTC day on which the orders started."""

    @dg.asset(
        key=DAILY_STATS_KEY,
        deps=[ORDERS_KEY],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run),
        group_name=GROUP,
        owners=list(OWNERS),
        kinds={"postgres", "view"},
        code_version=ORDERS_CODE_VERSION,
        tags={"feed": "hyperliquid"},
        description=(
            "Orders, sizes and executed notional by day of their start, asset, side and present status. A view over"
            " twap_orders, always as true as they are; a materialization shows the day's figures as they were then."
        ),
        metadata={
            "dagster/table_name": "twap_daily_stats",
            "dagster/column_schema": table_schema(tables.twap_daily_stats, DAILY_STATS_COLUMNS),
        },
    )
    def twap_daily_stats(
        context: dg.AssetExecutionContext, database: DatabaseResource, schema_guard: SchemaGuard
    ) -> dg.MaterializeResult[None]:
        from twap_pipeline.storage.reports.daily_orders import daily_figures

        with database.engine() as engine:
            schema_guard.require_head(engine)
            with engine.connect() as connection:
                figures = daily_figures(connection, [date.fromisoformat(day) for day in context.partition_keys])
        for day in context.partition_keys:
            context.add_asset_metadata(_figures_metadata(figures[date.fromisoformat(day)]), partition_key=day)
        return dg.MaterializeResult()

    return twap_daily_stats


_MARKETS = 10


def _figures_metadata(figures: "DailyOrderSummary") -> Mapping[str, dg.MetadataValue[Any]]:
    markets = [(asset, str(orders), f"{executed:,.0f}") for asset, orders, executed in figures.markets[:_MARKETS]]
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(figures.rows),
        "orders": dg.MetadataValue.int(figures.order_count),
        "under-filled orders": dg.MetadataValue.int(figures.underfilled_order_count),
        "executed USD": dg.MetadataValue.float(float(round(figures.notional_executed, 2))),
        "orders by status": dg.MetadataValue.md(bars(figures.by_status)),
        "largest markets": dg.MetadataValue.md(table(("asset", "orders", "executed USD"), markets)),
    }
