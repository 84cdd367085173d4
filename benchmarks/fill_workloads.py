"""Workloads of ``benchmarks.fills``, and their objects: fills of made orders, one object per UTC day."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.subprocess_timer import Work
from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.ingest.plan import group_by_day
from twap_pipeline.sample.files import write_parquet
from twap_pipeline.sample.fill_files import PERP_KEY, vendor_rows
from twap_pipeline.sample.fills import add_positions, draw_fills
from twap_pipeline.sample.orders import draw_orders
from twap_pipeline.source.base import open_store
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url

FIRST_DAY = datetime(2026, 5, 1, tzinfo=UTC)
_ORDERS = 100_000
"""Orders that are drawn at once: with more of them, a wallet's position has too many digits."""


def write_fill_objects(folder: Path, objects: int, rows: int) -> None:
    """Write objects of perpetual fills with rows each, in the vendor's keys; no fill is in two of them."""
    draws = count()
    for number in range(objects):
        day = FIRST_DAY + timedelta(days=number)
        fills = _draw(next(draws), day)
        while fills.height < rows:
            fills = pl.concat([fills, _draw(next(draws), day)])
        key = PERP_KEY.format(dex="hyperliquid", day=day.date())
        write_parquet(folder / key, vendor_rows(fills.head(rows)), day + timedelta(days=1, hours=10))


def _draw(number: int, day: datetime) -> pl.DataFrame:
    """Return the perpetual fills of orders of a day; another number gives other ids."""
    rng = np.random.default_rng(number)
    orders = draw_orders(rng, start=day, days=1, count=_ORDERS, first_twap_id=1_050_000 + number * _ORDERS)
    fills = add_positions(draw_fills(rng, orders, day).filter(~pl.col("is_spot")))
    return fills.with_columns(pl.col("trade_id", "order_id") + number * 100 * _ORDERS)


def ingest_fills(url: str, source_url: str) -> Work:
    """Prepare loading every object of fills: fetch, decode, normalize, COPY, ingest log, commit."""
    store = open_store(source_url)
    days = group_by_day(store.list_objects())
    engine = make_engine(parse_database_url(url))
    engine.connect().close()

    def load() -> None:
        for day, refs in days.items():
            for result in ingest_objects(store, engine, refs, day, data_set=TWAP_FILLS):
                if result.error or result.skipped or result.row_counts.inserted != result.row_counts.total:
                    raise SystemExit(f"not loaded as new rows: {result}")

    return load
