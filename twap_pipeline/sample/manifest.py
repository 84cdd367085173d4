"""The manifest of a sample: its parameters and its row counts, as a JSON file that marks the sample as complete.

Imports nothing heavy: a start that finds a complete sample reads only this file.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MANIFEST = ".sample.json"
"""File name, below the sample's directory. Written last. Listings omit it, because the name starts with a dot."""

FORMAT = 2
"""Increase it when changed code generates other files, so that older samples are replaced."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Parameters of a sample; equal parameters give equal files.

    Args:
        days: UTC days from 2025-08-17.
        orders_per_day: Orders created per day.
        seed: Seed of the random generator.
    """

    days: int
    orders_per_day: int
    seed: int


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """Row counts of a sample, to compare with what a loader counts.

    ``rows`` is the sum of ``events``, ``rows_republished``, ``rows_quarantined`` and ``rows_metadata``.

    Args:
        objects: Parquet files.
        rows: Rows of all objects.
        orders: Orders with at least one event.
        orders_ended: Orders with an event of a terminal status.
        events: Rows that are events; repetitions are not counted.
        rows_superseded: Events replaced by another event of the same (twap_id, wallet, microsecond). The loaded table
            has ``events - rows_superseded`` rows.
        rows_republished: Rows that are equal to a row of another object.
        rows_quarantined: Rows that a loader must reject.
        rows_metadata: Metadata rows of the vendor.
        edge_cases: Name of each edge case → key of one object that contains it.
    """

    objects: int
    rows: int
    orders: int
    orders_ended: int
    events: int
    rows_superseded: int
    rows_republished: int
    rows_quarantined: int
    rows_metadata: int
    edge_cases: dict[str, str]


def read_manifest(directory: Path, request: SampleRequest) -> SampleSummary | None:
    """Return the summary of the complete sample of these parameters; None if the directory has no such sample."""
    manifest = _load(directory)
    if {"format": FORMAT, "request": asdict(request)}.items() <= manifest.items():
        return SampleSummary(**manifest["summary"])
    return None


def count_files(directory: Path) -> int:
    """Return the number of files of the complete sample, of any parameters; 0 if the directory has no sample."""
    manifest = _load(directory)
    return int(manifest["summary"]["objects"]) + 1 if manifest else 0


def write_manifest(directory: Path, request: SampleRequest, summary: SampleSummary) -> None:
    """Mark the sample in the directory as complete."""
    manifest = {"format": FORMAT, "request": asdict(request), "summary": asdict(summary)}
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _load(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}
