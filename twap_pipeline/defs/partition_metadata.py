"""Metadata of a materialized partition of ``twap_status``: row counts, objects, bytes, cost, durations, a preview.

Metadata keys are snake_case and stable: people and dashboards read them. Keep queries out of this module.
"""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from twap_pipeline.defs.markdown import bars, table
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.source.s3_pricing import get_cost_usd

if TYPE_CHECKING:
    from twap_pipeline.ingest.load import IngestResult
    from twap_pipeline.ingest.plan import Plan

_PREVIEW_ROWS = 8
_DURATIONS = {"read_seconds": "reading", "decode_seconds": "decoding", "write_seconds": "writing"}
_EMPTY = "No object was read."
_PREVIEW_COLUMNS = (
    "ts",
    "twap_id",
    "wallet",
    "asset",
    "side",
    "size_requested",
    "size_executed",
    "notional_executed",
    "status",
    "duration_minutes",
)


def partition_metadata(
    plan: "Plan", results: Sequence["IngestResult"], *, rows_stored: int, duration_seconds: float
) -> dict[str, dg.MetadataValue[Any]]:
    """Return the metadata of one partition.

    Args:
        plan: The plan of the partition.
        results: One result per object of this run.
        rows_stored: Rows of ``twap_status`` that come from the partition's objects.
        duration_seconds: Elapsed time of the partition. Objects are loaded concurrently, so that the sum of
            ``read_seconds``, ``decode_seconds`` and ``write_seconds`` can be larger.
    """
    row_counts = RowCounts.sum_of(result.row_counts for result in results)
    loaded = [result for result in results if not result.error]
    data_warnings: Counter[str] = Counter()
    for result in results:
        data_warnings.update(result.data_warnings)
    durations = {key: sum(result.seconds.get(phase, 0.0) for result in results) for key, phase in _DURATIONS.items()}
    by_hour: Counter[int] = Counter()
    by_status: Counter[str] = Counter()
    for result in loaded:
        by_hour.update(result.preview.by_hour)
        by_status.update(result.preview.by_status)
    bytes_read = sum(result.ref.size_bytes for result in loaded)
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(rows_stored),
        "objects": dg.MetadataValue.int(len(plan.loaded) + len(loaded)),
        "objects_ingested": dg.MetadataValue.int(len(loaded)),
        "objects_failed": dg.MetadataValue.int(len(results) - len(loaded) + len(plan.parked)),
        "bytes_read": dg.MetadataValue.int(bytes_read),
        "estimated_cost_usd_max": dg.MetadataValue.float(round(get_cost_usd(len(loaded), bytes_read), 6)),
        "duration_seconds": dg.MetadataValue.float(round(duration_seconds, 3)),
        **{key: dg.MetadataValue.float(round(float(seconds), 3)) for key, seconds in durations.items()},
        "rows_read": dg.MetadataValue.int(row_counts.total),
        **{f"rows_{outcome}": dg.MetadataValue.int(count) for outcome, count in row_counts.as_dict().items()},
        "data_warnings": dg.MetadataValue.json(dict(data_warnings)),
        "events_by_hour": dg.MetadataValue.md(bars({f"{hour:02}:00": by_hour[hour] for hour in range(24)}) or _EMPTY),
        "events_by_status": dg.MetadataValue.md(bars(dict(by_status.most_common())) or _EMPTY),
        "preview": dg.MetadataValue.md(_preview(loaded)),
    }


def _preview(loaded: Sequence["IngestResult"]) -> str:
    """Return some rows as a Markdown table; decimals are shown as exact text."""
    import polars as pl

    frames = [result.preview.rows.select(_PREVIEW_COLUMNS) for result in loaded if result.preview.rows is not None]
    if not frames:
        return _EMPTY
    rows = pl.concat(frames).head(_PREVIEW_ROWS).with_columns(pl.col("ts").dt.to_string("%Y-%m-%d %H:%M:%S%.6f"))
    return table(_PREVIEW_COLUMNS, [[_to_text(value) for value in row] for row in rows.iter_rows()])


def _to_text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
