"""What the sample holds, as counts that a reader's own counts can be held against, and the marker that keeps them.

Here belongs the marker file. What the counts come from is ``contents``' knowledge. Imports nothing heavy: a start
that finds the sample complete reads only this.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MARKER = ".sample.json"
"""Name of the marker, below the sample's directory: written last; a dot file is no object."""

FORMAT = 1
"""Raised whenever other code gives other files: an older sample is then replaced."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What was asked for: two samples of one request are the same.

    Args:
        days: UTC days from the dataset's first.
        orders_per_day: Orders created on each.
        seed: Of all chance.
    """

    days: int
    orders_per_day: int
    seed: int


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What the sample holds.

    Every row of every object is one of: an event, a repetition of one, quarantined, or metadata_rows. Of the events,
    those superseded share (twap_id, wallet, microsecond) with the ending that wins.

    Args:
        days: UTC days from the dataset's first; the real orders' days come on top.
        objects: Parquet files.
        rows: Rows of all objects.
        orders: Orders with at least one event.
        bytes: Size of all objects.
        orders_ended: Orders with an event of a terminal status.
        events: Rows that are events, each counted once.
        rows_superseded: Events that lose their place to another; the table has ``events - rows_superseded`` rows.
        rows_republished: Rows that repeat an event of another object, to the letter.
        rows_quarantined: Rows that a reader must refuse.
        rows_metadata: Rows of the vendor's own.
        edge_cases: Key of one object that shows each edge_case, by the edge_case's name.
    """

    days: int
    objects: int
    rows: int
    orders: int
    bytes: int
    orders_ended: int
    events: int
    rows_superseded: int
    rows_republished: int
    rows_quarantined: int
    rows_metadata: int
    edge_cases: dict[str, str]


def read_marker(directory: Path, request: SampleRequest) -> SampleSummary | None:
    """Return the summary of the complete sample of that request in the directory; None where there is none."""
    marker = _load(directory)
    if {"format": FORMAT, "request": asdict(request)}.items() <= marker.items():
        return SampleSummary(**marker["summary"])
    return None


def count_files(directory: Path) -> int:
    """Return how many files the complete sample in the directory has, of any request; 0 where there is none."""
    marker = _load(directory)
    return int(marker["summary"]["objects"]) + 1 if marker else 0


def write_marker(directory: Path, request: SampleRequest, summary: SampleSummary) -> None:
    """Declare the sample in the directory complete."""
    marker = {"format": FORMAT, "request": asdict(request), "summary": asdict(summary)}
    partial = directory / f"{MARKER}.partial"
    partial.write_text(json.dumps(marker, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(directory / MARKER)


def _load(directory: Path) -> dict[str, Any]:
    try:
        marker = json.loads((directory / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}
