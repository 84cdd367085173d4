"""What a person sees of a day's partition: rows by outcome, objects, bytes, data_warnings, a preview."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from twap_pipeline.defs.markdown import bars
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.source.s3_pricing import get_cost_usd

if TYPE_CHECKING:
    from twap_pipeline.ingest.load import IngestResult
    from twap_pipeline.ingest.plan import Plan

_PREVIEW_ROWS = 8
_PHASES = ("reading", "decoding", "writing")
_NOTHING = "Nothing new was read."
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


def day_metadata(
    plan: "Plan", results: Sequence["IngestResult"], *, rows_before: int, seconds: float
) -> dict[str, dg.MetadataValue[Any]]:
    """Return the metadata of one day, from its plan and what came of it.

    Args:
        plan: What the day's listing held, taken and not yet taken.
        results: What came of the objects taken now.
        rows_before: Rows that the day's objects had brought in before.
        seconds: What taking them took by the clock; the phases of objects taken side by side add up to more.
    """
    row_counts = RowCounts.sum_of(done.row_counts for done in results)
    data_warnings: Counter[str] = Counter()
    for done in results:
        data_warnings.update(done.data_warnings)
    taken = [done for done in results if not done.error]
    spent = {phase: sum((done.seconds.get(phase, 0.0) for done in results), 0.0) for phase in _PHASES}
    by_hour: Counter[int] = Counter()
    by_status: Counter[str] = Counter()
    for done in taken:
        by_hour.update(done.preview.by_hour)
        by_status.update(done.preview.by_status)
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(rows_before + row_counts.stored),
        "objects": dg.MetadataValue.int(len(plan.loaded) + len(taken)),
        "objects taken now": dg.MetadataValue.int(len(taken)),
        "objects failed": dg.MetadataValue.int(len(results) - len(taken) + len(plan.parked)),
        "bytes read": dg.MetadataValue.int(sum(done.ref.size_bytes for done in taken)),
        "dollars at limit": dg.MetadataValue.float(_dollars(taken)),
        "seconds": dg.MetadataValue.float(round(seconds, 3)),
        **{f"seconds {phase}": dg.MetadataValue.float(round(spent[phase], 3)) for phase in _PHASES},
        "rows read": dg.MetadataValue.int(row_counts.total),
        **{f"rows {outcome}": dg.MetadataValue.int(count) for outcome, count in row_counts.as_dict().items()},
        "data_warnings": dg.MetadataValue.json(dict(data_warnings)),
        "events by hour": dg.MetadataValue.md(bars({f"{hour:02}:00": by_hour[hour] for hour in range(24)}) or _NOTHING),
        "events by status": dg.MetadataValue.md(bars(dict(by_status.most_common())) or _NOTHING),
        "preview": dg.MetadataValue.md(_preview(taken)),
    }


def _dollars(taken: Sequence["IngestResult"]) -> float:
    """What the caller paid if this runs outside the bucket's region; inside it, the requests alone."""
    return round(get_cost_usd(len(taken), sum(done.ref.size_bytes for done in taken)), 6)


def _preview(taken: Sequence["IngestResult"]) -> str:
    """Return some of the rows as a Markdown table, sizes as the exact text that they are."""
    import polars as pl

    parts = [done.preview.rows.select(_PREVIEW_COLUMNS) for done in taken if done.preview.rows is not None]
    if not parts:
        return _NOTHING
    table = pl.concat(parts).head(_PREVIEW_ROWS).with_columns(pl.col("ts").dt.to_string("%Y-%m-%d %H:%M:%S%.6f"))
    return str(table.to_pandas().to_markdown(index=False, disable_numparse=True))
