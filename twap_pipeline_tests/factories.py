"""Factories of small objects: events with the fields that tests vary, in a directory that serves as the bucket."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

WALLET = "0xbcb881aa8d0b3e786d00d0ae83c52e0ed078dcc3"
NOON = datetime(2025, 8, 20, 12, tzinfo=UTC)
DAY = NOON.date()


def event(
    twap_id: int,
    *,
    status: str = "activated",
    minute: int = 0,
    executed: str = "0.0",
    asset: str = "HYPE",
    wallet: str = WALLET,
) -> dict[str, object]:
    """Return a row of the feed: an event of an order that was created at `NOON`, some minutes later."""
    at = NOON + timedelta(minutes=minute)
    return {
        "twap_id": twap_id,
        "time": f"{at:%Y-%m-%dT%H:%M:%S}.123456789",
        "state_user": wallet,
        "state_coin": asset,
        "state_side": "B",
        "state_sz": "10",
        "state_executedSz": executed,
        "state_executedNtl": "0.0",
        "state_minutes": 30,
        "state_reduceOnly": False,
        "state_randomize": True,
        "state_timestamp": int(NOON.timestamp() * 1000),
        "status": status,
    }


@dataclass(frozen=True, slots=True)
class Bucket:
    """A directory of objects, all of one day."""

    directory: Path
    day: date = DAY

    def put(self, key: str, rows: Sequence[dict[str, object]], *, hours: float = 0, keep: int | None = None) -> None:
        """Write an object.

        Args:
            key: Its path below the directory.
            rows: Its rows, from `event`.
            hours: Offset of its LastModified from the default one.
            keep: Number of rows to keep; the columns are kept also for 0.
        """
        frame = pl.DataFrame(list(rows)) if rows else pl.DataFrame([event(0)]).head(0)
        self.put_frame(key, frame if keep is None else frame.head(keep), hours=hours)

    def put_frame(self, key: str, frame: pl.DataFrame, *, hours: float = 0) -> None:
        """Write a frame as an object."""
        path = self.directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)
        self.touch(key, hours=hours)

    def touch(self, key: str, *, hours: float) -> None:
        """Set the LastModified of an object."""
        modified = (NOON + timedelta(days=1, hours=hours)).timestamp()
        os.utime(self.directory / key, (modified, modified))

    def clear(self) -> None:
        """Delete every object."""
        shutil.rmtree(self.directory)
        self.directory.mkdir()
