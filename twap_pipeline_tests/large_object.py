"""One large object of valid rows, for benchmarks and memory tests: no duplicates and nothing to reject."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from twap_pipeline.sample.events import order_events
from twap_pipeline.sample.files import write_parquet
from twap_pipeline.sample.orders import draw_orders

EVENTS_PER_ORDER = 2
FIRST_DAY = datetime(2025, 8, 17, tzinfo=UTC)


def write_object(
    path: Path, n_rows: int, seed: int = 1, *, day: datetime = FIRST_DAY, first_twap_id: int = 1_050_000
) -> None:
    """Write one parquet object in the feed's usual form.

    The rows are the first ``n_rows`` events, by time, of ``n_rows / 2`` orders created on one day. Each row has a
    unique (twap_id, wallet, time). Equal arguments give equal bytes.

    Args:
        path: The file. Its folder is created.
        n_rows: Number of rows.
        seed: Seed of the random generator.
        day: Midnight, aware UTC, of the day on which the orders are created.
        first_twap_id: Id of the first order. Objects whose ids do not overlap share no key.
    """
    count = -(-n_rows // EVENTS_PER_ORDER)
    rng = np.random.default_rng(seed)
    orders = draw_orders(rng, start=day, days=1, count=count, first_twap_id=first_twap_id, include_rare=False)
    rows = order_events(orders).head(n_rows)
    write_parquet(path, rows, day + timedelta(days=2))
