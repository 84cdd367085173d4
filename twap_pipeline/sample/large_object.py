"""One large object of well-formed rows, for measuring and for bounds of memory.

Here belongs size without edge_case: no collision, no repetition, nothing to refuse.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from twap_pipeline.sample.events import order_events
from twap_pipeline.sample.files import ROW_GROUP_ROWS, write_parquet
from twap_pipeline.sample.layout import FIRST_DAY
from twap_pipeline.sample.orders import draw_orders

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

EVENTS_PER_ORDER = 2


def write_object(
    path: Path,
    n_rows: int,
    seed: int = 1,
    *,
    day: datetime = FIRST_DAY,
    first_twap_id: int = 1_050_000,
    row_group_rows: int = ROW_GROUP_ROWS,
) -> int:
    """Write one parquet object in the feed's usual form and return its size in bytes.

    The rows are the first ``n_rows`` events, by time, of half as many orders that were created on one day; each has a
    (twap_id, wallet, time) of its own. The same arguments give the same bytes.

    Args:
        path: The file; its folder is made.
        n_rows: Number of rows.
        seed: Of all chance.
        day: Midnight, aware UTC, of the day of the orders' creation.
        first_twap_id: Id of the first order. Objects whose ids do not overlap share no key.
        row_group_rows: Rows of each row group, but for the last.
    """
    import numpy as np

    count = -(-n_rows // EVENTS_PER_ORDER)
    rng = np.random.default_rng(seed)
    orders = draw_orders(rng, start=day, days=1, count=count, first_twap_id=first_twap_id, rare=False)
    rows = order_events(orders).head(n_rows)
    return write_parquet(path, rows, day + timedelta(days=2), row_group_rows=row_group_rows)
