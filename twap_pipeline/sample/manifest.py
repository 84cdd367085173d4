"""The manifest of a sample: its parameters, edge cases and faults, as a JSON file that marks the sample as complete.

Imports nothing heavy: settings and the code location read this file.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

MANIFEST = ".sample.json"
"""File name, below the sample's directory. Written last."""

STATUSES, FILLS = "statuses", "fills"
"""Directories of the objects, below the sample's directory."""

FORMAT = 5
"""Increase it when changed code generates other files: a directory with an older sample is refused."""

WRITE_DELAY_MAX = timedelta(minutes=5)
"""An object is written at most this long after the end of its hour."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Parameters of a sample; equal parameters give equal files.

    Args:
        until: End of the sample, exclusive: a full hour, aware UTC.
        days: UTC days. The last one contains the hour before ``until``, so that it can be incomplete.
        orders_per_day: Orders created per day. An order has about two rows.
        seed: Seed of the random generator.
    """

    until: datetime
    days: int = 14
    orders_per_day: int = 2_800
    seed: int = 1

    @property
    def last_date(self) -> date:
        """The last UTC day."""
        return (self.until - timedelta(hours=1)).date()

    @property
    def first_date(self) -> date:
        """The first UTC day."""
        return self.last_date - timedelta(days=self.days - 1)


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What a sample contains on purpose.

    Args:
        edge_cases: Name of each edge case → key of one object that contains it.
        fill_faults: Name of each deliberate fault of the fills → id of its order.
    """

    edge_cases: dict[str, str]
    fill_faults: dict[str, str]


def latest_until(now: datetime) -> datetime:
    """Return the latest full hour such that all objects of earlier hours are written at ``now`` (aware)."""
    return (now.astimezone(UTC) - WRITE_DELAY_MAX).replace(minute=0, second=0, microsecond=0)


def read_manifest(directory: Path) -> tuple[SampleRequest, SampleSummary] | None:
    """Return the sample in the directory; None if it contains no complete sample of this format."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return None
        request, summary = manifest["request"], manifest["summary"]
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None
    until = datetime.fromisoformat(request["until"])
    return SampleRequest(**{**request, "until": until}), SampleSummary(summary["edge_cases"], summary["fill_faults"])


def write_manifest(directory: Path, request: SampleRequest, summary: SampleSummary) -> None:
    """Mark the sample in the directory as complete."""
    manifest = {
        "format": FORMAT,
        "request": {**asdict(request), "until": request.until.isoformat()},
        "summary": asdict(summary),
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
