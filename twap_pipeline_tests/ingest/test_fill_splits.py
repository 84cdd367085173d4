"""Any split of orders into fills reconciles, in any order of objects; a missing or doubled fill is found.

The fills are loaded from parquet objects; the expected sums are computed here, in plain Python.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.sample.fill_files import PERP_KEY
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.factories import WALLET, Bucket
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.storage.test_reconciliation import insert_orders

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = (date(2025, 12, 31), date(2026, 1, 1))
DEXES = ("hyperliquid", "xyz")
CENT = Decimal("0.000001")


@dataclass(frozen=True)
class Slice:
    """A fill of an order: its units are those of the vendor's decimals."""

    price: Decimal
    size: Decimal
    ms: int
    dex: str

    @property
    def at(self) -> datetime:
        return NEW_YEAR + timedelta(milliseconds=self.ms)


def decimals(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    """Return decimals above zero. Sums of products of them have at most 28 digits, which Python computes exactly."""
    return st.integers(1, 10**digits - 1).map(lambda number: Decimal(number).scaleb(-places))


slices = st.builds(
    Slice,
    price=decimals(15, 10),
    size=decimals(11, 8),
    ms=st.integers(-86_400_000, 86_400_000 - 1),
    dex=st.sampled_from(DEXES),
)
orders_ = st.lists(st.lists(slices, min_size=1, max_size=6), min_size=1, max_size=4)


def row(trade_id: int, twap_id: int | None, fill: Slice) -> dict[str, object]:
    """Return a fill in the vendor's columns that every object must have, and its fee."""
    return {
        "coin": "HYPE",
        "price": fill.price,
        "size": fill.size,
        "side": "buy",
        "timestamp": fill.at,
        "fee": fill.size * CENT,
        "trade_id": trade_id,
        "address": WALLET,
        "twap_id": twap_id,
    }


SCHEMA = pl.Schema(
    {
        "coin": pl.String(),
        "price": pl.Decimal(20, 10),
        "size": pl.Decimal(20, 10),
        "side": pl.String(),
        "timestamp": pl.Datetime("ms", "UTC"),
        "fee": pl.Decimal(20, 10),
        "trade_id": pl.UInt64(),
        "address": pl.String(),
        "twap_id": pl.UInt64(),
    }
)


def put(bucket: Bucket, rows: Sequence[tuple[str, dict[str, object]]]) -> None:
    """Write the rows to one object per dex and day; every object also contains a fill of no TWAP order."""
    bucket.clear()
    content = defaultdict(list)
    for number, (dex, day) in enumerate((dex, day) for dex in DEXES for day in DAYS):
        at_ms = 0 if day == DAYS[1] else -1
        other = Slice(Decimal(1), Decimal(1), at_ms, dex)
        content[PERP_KEY.format(dex=dex, day=day)].append(row(10**6 + number, None, other))
    for dex, fill in rows:
        at = fill["timestamp"]
        assert isinstance(at, datetime)
        content[PERP_KEY.format(dex=dex, day=at.date())].append(fill)
    for key, fills in content.items():
        bucket.put_frame(key, pl.DataFrame(fills, schema=SCHEMA))


def load(engine: Engine, bucket: Bucket, data: st.DataObject) -> None:
    """Load every object, in a drawn order, into empty tables."""
    with engine.begin() as connection:
        connection.execute(
            text("TRUNCATE twap_fills, twap_fills_quarantine, twap_orders, etl_s3_ingest_log, etl_s3_ingest_history")
        )
    store = LocalDirectory(bucket.directory)
    for ref in data.draw(st.permutations(list(store.list_objects()))):
        (result,) = ingest_objects(store, engine, [ref], partition_date(ref), data_set=TWAP_FILLS)
        assert (result.error, result.row_counts.metadata, result.row_counts.quarantined) == (None, 1, 0)


def insert_orders_of(engine: Engine, orders: Sequence[Sequence[Slice]]) -> None:
    """Insert the orders with their executed totals; the exchange rounds the notional of each fill to six decimals."""
    insert_orders(
        engine,
        *(
            {
                "twap_id": str(number),
                "size_executed": sum((fill.size for fill in order), Decimal(0)),
                "notional_executed": sum(((fill.price * fill.size).quantize(CENT) for fill in order), Decimal(0)),
                "started_at": NEW_YEAR - timedelta(days=1),
                "ended_at": NEW_YEAR + timedelta(days=1, microseconds=-1),
            }
            for number, order in enumerate(orders)
        ),
    )


@examples(10)
@given(orders=orders_, data=st.data())
def test_fills_of_any_split_have_the_state_of_their_fault(
    engine: Engine, bucket: Bucket, orders: list[list[Slice]], data: st.DataObject
) -> None:
    rows, expected = [], {}
    for twap_id, order in enumerate(orders):
        fills = [(fill.dex, row(10 * twap_id + number, twap_id, fill)) for number, fill in enumerate(order)]
        state = data.draw(st.sampled_from(["reconciled", "missing_fills", "surplus_fills"]))
        if state == "missing_fills":
            fills.pop(data.draw(st.integers(0, len(fills) - 1)))
        elif state == "surplus_fills":
            dex, doubled = data.draw(st.sampled_from(fills))
            fills.append((dex, {**doubled, "trade_id": 10 * twap_id + 9}))
        rows += fills
        expected[str(twap_id)] = state
    put(bucket, data.draw(st.permutations(rows)))

    load(engine, bucket, data)
    insert_orders_of(engine, orders)

    with engine.connect() as connection:
        states = connection.execute(text("SELECT twap_id, state FROM twap_order_reconciliation"))
        assert {twap_id: state for twap_id, state in states} == expected  # noqa: C416


@examples(6)
@given(orders=orders_, data=st.data())
def test_fills_across_new_year_add_up_per_year(
    engine: Engine, bucket: Bucket, orders: list[list[Slice]], data: st.DataObject
) -> None:
    """Sizes and notionals of a year are exact; those of both years together are the totals of the order."""
    expected: defaultdict[tuple[str, int], Decimal] = defaultdict(Decimal)
    for twap_id, order in enumerate(orders):
        for fill in order:
            expected[str(twap_id), fill.at.year] += fill.price * fill.size
    numbered = [(twap_id, number, fill) for twap_id, order in enumerate(orders) for number, fill in enumerate(order)]
    put(bucket, [(fill.dex, row(10 * twap_id + number, twap_id, fill)) for twap_id, number, fill in numbered])

    load(engine, bucket, data)
    insert_orders_of(engine, orders)

    with engine.connect() as connection:
        years = connection.execute(
            text(
                "SELECT twap_id, extract(year FROM ts AT TIME ZONE 'UTC')::int, sum(price * size)"
                " FROM twap_fills GROUP BY 1, 2"
            )
        )
        assert {(twap_id, year): notional for twap_id, year, notional in years} == expected
        totals = connection.execute(
            text("SELECT twap_id, size_filled, notional_filled, state FROM twap_order_reconciliation")
        )
        for twap_id, size, notional, state in totals:
            of_order = [expected[twap_id, day.year] for day in DAYS]
            assert (size, notional) == (sum(fill.size for fill in orders[int(twap_id)]), sum(of_order))
            assert state == "reconciled"
