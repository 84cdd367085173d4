"""What a person sees of a day's partition: rows by fate, objects, bytes, findings, a preview."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from twap_pipeline.domain.quality import Fates

if TYPE_CHECKING:
    from twap_pipeline.ingest.loading import Ingested
    from twap_pipeline.ingest.planning import Plan

_PREVIEW_ROWS = 8
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


def day_metadata(plan: "Plan", results: Sequence["Ingested"], *, rows_before: int) -> dict[str, dg.MetadataValue[Any]]:
    """Return the metadata of one day, from its plan and what came of it.

    Args:
        plan: What the day's listing held, taken and not yet taken.
        results: What came of the objects taken now.
        rows_before: Rows that the day's objects had brought in before.
    """
    fates = Fates.total(done.fates for done in results)
    findings: Counter[str] = Counter()
    for done in results:
        findings.update(done.findings)
    taken = [done for done in results if not done.error]
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(rows_before + fates.held),
        "objects": dg.MetadataValue.int(len(plan.loaded) + len(taken)),
        "objects taken now": dg.MetadataValue.int(len(taken)),
        "objects failed": dg.MetadataValue.int(len(results) - len(taken) + len(plan.parked)),
        "bytes read": dg.MetadataValue.int(sum(done.ref.size_bytes for done in taken)),
        "rows read": dg.MetadataValue.int(fates.read),
        **{f"rows {fate}": dg.MetadataValue.int(count) for fate, count in fates.as_dict().items()},
        "findings": dg.MetadataValue.json(dict(findings)),
        "preview": dg.MetadataValue.md(_preview(taken)),
    }


def _preview(taken: Sequence["Ingested"]) -> str:
    """Return some of the rows as a Markdown table, sizes as the exact text that they are."""
    import polars as pl

    parts = [done.preview.select(_PREVIEW_COLUMNS) for done in taken if done.preview is not None]
    if not parts:
        return "Nothing new was read."
    table = pl.concat(parts).head(_PREVIEW_ROWS).with_columns(pl.col("ts").dt.to_string("%Y-%m-%d %H:%M:%S%.6f"))
    return str(table.to_pandas().to_markdown(index=False, disable_numparse=True))
