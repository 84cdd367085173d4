"""Metadata of a materialized partition: the state of the partition in the database, and what the run added to it.

Metadata keys are snake_case and stable: people and dashboards read them. Keys of the run start with ``run_``; all other
keys describe the partition, whichever runs loaded it. Dagster's UI plots numbers over partitions; where a number is
rounded, a key with the suffix ``_exact`` has the exact text. Keep queries out of this module.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from twap_pipeline.defs.charts import bar_chart, column_chart
from twap_pipeline.defs.tables import text_table
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.source.s3_pricing import get_cost_usd

if TYPE_CHECKING:
    from twap_pipeline.ingest.load import IngestResult
    from twap_pipeline.storage.orders.refresh import RefreshResult
    from twap_pipeline.storage.reports.daily_orders import DailyOrderSummary
    from twap_pipeline.storage.reports.partition_state import (
        FillsPartition,
        ObjectsPartition,
        OrdersPartition,
        StatusPartition,
    )

PartitionMetadata = Mapping[str, Any]
"""Metadata key → value; Dagster shows numbers, texts and dictionaries as they are."""

_DURATIONS = {"run_read_seconds": "reading", "run_decode_seconds": "decoding", "run_write_seconds": "writing"}
_PREVIEW_COLUMNS = ("ts", "twap_id", "asset", "side", "status", "size_executed", "notional_executed")
_FILLS_PREVIEW_COLUMNS = ("ts", "twap_id", "asset", "side", "direction", "price", "size", "fee", "fee_token")
_MARKETS_MAX = 10


def status_metadata(
    state: "StatusPartition", results: Sequence["IngestResult"], duration_seconds: float
) -> PartitionMetadata:
    """Return the metadata of a partition of ``twap_status``: its state after the run, and the results per object."""
    preview = [[event[name] for name in _PREVIEW_COLUMNS] for event in state.latest_events]
    return {
        **_objects_metadata(state, state.rows),
        "events_by_hour": dg.MetadataValue.md(column_chart("events by hour", state.events_by_hour)),
        "events_by_status": dg.MetadataValue.md(bar_chart("events by status", state.events_by_status)),
        "preview": text_table(_PREVIEW_COLUMNS, preview),
        **_run_metadata(results, duration_seconds),
    }


def fills_metadata(
    state: "FillsPartition", results: Sequence["IngestResult"], duration_seconds: float
) -> PartitionMetadata:
    """Return the metadata of a partition of ``twap_fills``, as `status_metadata` does."""
    preview = [[fill[name] for name in _FILLS_PREVIEW_COLUMNS] for fill in state.latest_fills]
    return {
        **_objects_metadata(state, state.rows),
        "notional": float(round(state.notional, 2)),
        "notional_exact": f"{state.notional:f}",
        "fills_by_hour": dg.MetadataValue.md(column_chart("fills by hour", state.fills_by_hour)),
        "fills_by_market": dg.MetadataValue.md(bar_chart("fills by market", state.fills_by_market)),
        "preview": text_table(_FILLS_PREVIEW_COLUMNS, preview),
        **_run_metadata(results, duration_seconds),
    }


def _objects_metadata(state: "ObjectsPartition", rows: int) -> PartitionMetadata:
    """Return the metadata of the objects of a partition, and of its rows."""
    failed = {"failed_objects": text_table(("key", "failed_attempts", "error_text"), state.failed_objects)}
    return {
        "dagster/partition_row_count": rows,
        "objects_loaded": state.objects_loaded,
        "objects_failed": state.objects_failed,
        "objects_parked": state.objects_parked,
        "bytes_loaded": state.bytes_loaded,
        "bytes_fetched": state.bytes_fetched,
        "estimated_cost_usd_max": round(get_cost_usd(state.attempts, state.bytes_fetched), 6),
        "rows_read": state.row_counts.total,
        **{f"rows_{outcome}": count for outcome, count in state.row_counts.as_dict().items()},
        "data_warnings": dict(state.data_warnings),
        **(failed if state.failed_objects else {}),
    }


def _run_metadata(results: Sequence["IngestResult"], duration_seconds: float) -> PartitionMetadata:
    """Return what a run added to a partition.

    Objects are loaded concurrently, so that the sum of the seconds of the phases can exceed ``run_duration_seconds``.
    """
    loaded = [result for result in results if not result.error]
    added = RowCounts.sum_of(result.row_counts for result in results)
    seconds = {key: sum(result.seconds.get(phase, 0.0) for result in results) for key, phase in _DURATIONS.items()}
    return {
        "run_objects_loaded": len(loaded),
        "run_objects_failed": len(results) - len(loaded),
        "run_bytes_read": sum(result.ref.size_bytes for result in loaded),
        "run_rows_inserted": added.inserted,
        "run_rows_updated": added.updated,
        "run_duration_seconds": round(duration_seconds, 3),
        **{key: round(float(duration), 3) for key, duration in seconds.items()},
    }


def orders_metadata(state: "OrdersPartition", result: "RefreshResult", duration_seconds: float) -> PartitionMetadata:
    """Return the metadata of a partition of ``twap_orders``: its state after the run, and what the run changed."""
    return {
        "dagster/partition_row_count": sum(state.orders_by_status.values()),
        "open_order_count": state.open_orders,
        "underfilled_order_count": state.underfilled_orders,
        **_notional(state.notional_executed),
        "orders_by_status": dg.MetadataValue.md(bar_chart("orders by status", state.orders_by_status)),
        "run_objects_refreshed": result.objects,
        "run_orders_inserted": result.inserted,
        "run_orders_updated": result.updated,
        "run_duration_seconds": round(duration_seconds, 3),
    }


def daily_stats_metadata(state: "DailyOrderSummary") -> PartitionMetadata:
    """Return the metadata of a partition of ``twap_daily_stats``."""
    executed = {asset: notional for asset, _, notional in state.markets}
    return {
        "dagster/partition_row_count": state.rows,
        "order_count": state.order_count,
        "underfilled_order_count": state.underfilled_order_count,
        **_notional(state.notional_executed),
        "orders_by_status": dg.MetadataValue.md(bar_chart("orders by status", state.by_status)),
        "notional_by_market": dg.MetadataValue.md(bar_chart("executed notional by market, USD", executed)),
        "largest_markets": text_table(("asset", "orders", "notional_executed_usd"), state.markets[:_MARKETS_MAX]),
    }


def _notional(notional_usd: Decimal) -> PartitionMetadata:
    return {
        "notional_executed_usd": float(round(notional_usd, 2)),
        "notional_executed_usd_exact": f"{notional_usd:f}",
    }
