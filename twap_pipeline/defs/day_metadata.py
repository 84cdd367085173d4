"""What a person sees of a day's partition: rows by fate, objects, bytes, findings, a preview."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from twap_pipeline.defs.markdown import bars
from twap_pipeline.domain.cost import reading_dollars
from twap_pipeline.domain.quality import Fates

if TYPE_CHECKING:
    from twap_pipeline.ingest.loading import Ingested
    from twap_pipeline.ingest.planning import Plan

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
    plan: "Plan", results: Sequence["Ingested"], *, rows_before: int, seconds: float
) -> dict[str, dg.MetadataValue[Any]]:
    """Return the metadata of one day, from its plan and what came of it.

    Args:
        plan: What the day's listing held, taken and not yet taken.
        results: What came of the objects taken now.
        rows_before: Rows that the day's objects had brought in before.
        seconds: What taking them took by the clock; the phases of objects taken side by side add up to more.
    """
    fates = Fates.total(done.fates for done in results)
    findings: Counter[str] = Counter()
    for done in results:
        findings.update(done.findings)
    taken = [done for done in results if not done.error]
    spent = {phase: sum((done.seconds.get(phase, 0.0) for done in results), 0.0) for phase in _PHASES}
    by_hour: Counter[int] = Counter()
    by_status: Counter[str] = Counter()
    for done in taken:
        by_hour.update(done.glimpse.by_hour)
        by_status.update(done.glimpse.by_status)
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(rows_before + fates.held),
        "objects": dg.MetadataValue.int(len(plan.loaded) + len(taken)),
        "objects taken now": dg.MetadataValue.int(len(taken)),
        "objects failed": dg.MetadataValue.int(len(results) - len(taken) + len(plan.parked)),
        "bytes read": dg.MetadataValue.int(sum(done.ref.size_bytes for done in taken)),
        "dollars at most": dg.MetadataValue.float(_dollars(taken)),
        "seconds": dg.MetadataValue.float(round(seconds, 3)),
        **{f"seconds {phase}": dg.MetadataValue.float(round(spent[phase], 3)) for phase in _PHASES},
        "rows read": dg.MetadataValue.int(fates.read),
        **{f"rows {fate}": dg.MetadataValue.int(count) for fate, count in fates.as_dict().items()},
        "findings": dg.MetadataValue.json(dict(findings)),
        "events by hour": dg.MetadataValue.md(bars({f"{hour:02}:00": by_hour[hour] for hour in range(24)}) or _NOTHING),
        "events by status": dg.MetadataValue.md(bars(dict(by_status.most_common())) or _NOTHING),
        "preview": dg.MetadataValue.md(_preview(taken)),
    }


def _dollars(taken: Sequence["Ingested"]) -> float:
    """What the caller paid if this runs outside the bucket's region; inside it, the requests alone."""
    return round(reading_dollars(len(taken), sum(done.ref.size_bytes for done in taken)), 6)


def _preview(taken: Sequence["Ingested"]) -> str:
    """Return some of the rows as a Markdown table, sizes as the exact text that they are."""
    import polars as pl

    parts = [done.glimpse.rows.select(_PREVIEW_COLUMNS) for done in taken if done.glimpse.rows is not None]
    if not parts:
        return _NOTHING
    table = pl.concat(parts).head(_PREVIEW_ROWS).with_columns(pl.col("ts").dt.to_string("%Y-%m-%d %H:%M:%S%.6f"))
    return str(table.to_pandas().to_markdown(index=False, disable_numparse=True))
