"""Unit tests of the sample's fills: they add up to the statuses, in the vendor's columns, types and keys."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twap_pipeline.domain.status import TERMINAL_STATUSES
from twap_pipeline.sample import generate_sample
from twap_pipeline.sample.dataset import FIRST_TWAP_ID
from twap_pipeline.sample.fills import SLICES_MAX
from twap_pipeline.sample.manifest import FILLS, SampleSummary
from twap_pipeline.sample.prices import COINS
from twap_pipeline_tests.sample.sample_reader import FULL, SMALL, microseconds_of, objects_of, rows_of, status_of

DECIMAL = pa.decimal128(20, 10)
COLUMNS: dict[str, pa.DataType] = {
    **dict.fromkeys(("coin", "dex", "asset_class", "base_symbol", "quote_symbol"), pa.string()),
    **dict.fromkeys(("price", "size"), DECIMAL),
    "side": pa.string(),
    "timestamp": pa.timestamp("ms", "UTC"),
    "direction": pa.string(),
    **dict.fromkeys(("realized_pnl", "start_position", "fee"), DECIMAL),
    **dict.fromkeys(("fee_token", "tx_hash"), pa.string()),
    **dict.fromkeys(("order_id", "trade_id"), pa.uint64()),
    "address": pa.string(),
    "crossed": pa.bool_(),
    **dict.fromkeys(("client_order_id", "builder"), pa.string()),
    **dict.fromkeys(("builder_fee", "deployer_fee", "priority_gas"), DECIMAL),
    "twap_id": pa.uint64(),
    "is_liquidation": pa.bool_(),
    "liquidation_mark_px": DECIMAL,
    "liquidation_method": pa.string(),
}
"""Columns of the vendor's documentation, in its order."""


@pytest.fixture(scope="module")
def fills(full: tuple[Path, SampleSummary]) -> pl.DataFrame:
    """All fills of TWAP orders, in the order of time."""
    paths = objects_of(full[0].with_name(FILLS))
    return pl.concat(map(pl.read_parquet, paths)).drop_nulls("twap_id").sort("timestamp", "trade_id")


@pytest.mark.parametrize(
    ("last_day", "missing"),
    [
        (date(2026, 3, 20), {"deployer_fee", "priority_gas"}),
        (date(2026, 3, 21), {"priority_gas"}),
        (date(2026, 4, 13), set()),
    ],
)
def test_columns_and_types_are_those_of_the_vendor(last_day: date, missing: set[str], tmp_path: Path) -> None:
    until = datetime(last_day.year, last_day.month, last_day.day, 12, tzinfo=UTC)
    generate_sample(tmp_path / "s", replace(SMALL, until=until))
    paths = [path for path in objects_of(tmp_path / "s" / FILLS) if f"date={last_day}" in str(path)]
    assert len(paths) == 3
    for path in paths:
        columns = {field.name: field.type for field in pq.read_schema(path)}
        assert list(columns.items()) == [item for item in COLUMNS.items() if item[0] not in missing]


def test_keys_are_those_of_the_vendor(full: tuple[Path, SampleSummary]) -> None:
    directory = full[0].with_name(FILLS)
    days = [f"date={date(2025, 8, 17) + timedelta(days=number)}/fills.parquet" for number in range(14)]
    folders = ("by_dex/hyperliquid/fills/perp/twap_fills", "by_dex/xyz/fills/perp/twap_fills", "global/fills/spot/all")
    keys = [str(path.relative_to(directory)) for path in objects_of(directory)]
    assert keys == [f"{folder}/{day}" for folder in folders for day in days]
    for path in objects_of(directory):
        rows = pl.read_parquet(path)
        day = date.fromisoformat(path.parent.name.removeprefix("date="))
        assert set(rows["timestamp"].dt.date()) == {day}
        assert rows["asset_class"].unique().to_list() == ["spot" if "spot" in str(path) else "perp"]
        assert all(f"by_dex/{dex}/" in str(path) or "spot" in str(path) for dex in rows["dex"].unique())
        assert rows["coin"].str.starts_with("xyz:").to_list() == (rows["dex"] == "xyz").to_list()
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        assert written == min(datetime(day.year, day.month, day.day, 10, tzinfo=UTC) + timedelta(days=1), FULL.until)


def test_fills_add_up_to_the_orders(full: tuple[Path, SampleSummary], fills: pl.DataFrame) -> None:
    """Except the order with a missing slice: the sums are exact, and the times are within the life of the order."""
    events: dict[int, list[tuple[int, str, str | None, str | None]]] = defaultdict(list)
    for path in objects_of(full[0]):
        for row in rows_of(path):
            if row["time"] and int(row["twap_id"] or 0) >= FIRST_TWAP_ID:  # without the rows that must be rejected
                texts = (str(row["state_executedSz"]), str(row["state_executedNtl"]))
                events[int(row["twap_id"])].append((microseconds_of(row["time"]), status_of(row["status"])[0], *texts))
    sums = {
        row["twap_id"]: row
        for row in fills.group_by("twap_id")
        .agg(
            pl.len().alias("count"),
            pl.sum("size"),
            (pl.col("price").cast(pl.Decimal(38, 10)) * pl.col("size")).sum().alias("notional"),
            pl.min("timestamp").dt.epoch("us").alias("first"),
            pl.max("timestamp").dt.epoch("us").alias("last"),
        )
        .iter_rows(named=True)
    }
    different, running = [], 0
    for twap_id, rows in events.items():
        of_order = sorted(rows)
        filled = sums.get(twap_id, {"size": Decimal(0), "notional": Decimal(0), "count": 0})
        last = next((row for row in of_order if row[1] in TERMINAL_STATUSES), None)
        if last is None:
            running += filled["count"] > 0
            continue
        if Decimal(last[2] or 0) != filled["size"] or abs(Decimal(last[3] or 0) - filled["notional"]) > Decimal("1E-8"):
            different.append(str(twap_id))
        if filled["count"]:
            assert filled["last"] <= last[0]
            started = next((row[0] for row in of_order if row[1] == "activated"), 0)
            assert filled["first"] >= started - 1_000  # fills have milliseconds
            assert filled["count"] <= SLICES_MAX
    assert different == [full[1].fill_faults["missing_slice"]]
    assert running > 5
    assert [str(twap_id) for twap_id in sums if twap_id not in events] == [full[1].fill_faults["no_order"]]
    assert max(row["count"] for row in sums.values()) == SLICES_MAX


def test_perp_fills_have_running_positions_and_profits(full: tuple[Path, SampleSummary], fills: pl.DataFrame) -> None:
    """Compared with a computation in decimals: average entry price, and the direction of every fill."""
    positions: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    directions = set()
    perps = fills.filter((pl.col("asset_class") == "perp") & pl.col("coin").is_in(["SOL", "xyz:NVDA"]))
    damaged = fills.filter(pl.col("twap_id") == int(full[1].fill_faults["missing_slice"]))
    names = ("address", "coin", "side", "size", "price", "start_position", "realized_pnl", "direction")
    for wallet, coin, side, size, price, start, pnl, direction in perps.select(names).iter_rows():
        if (wallet, coin) == (damaged["address"][0], damaged["coin"][0]):
            continue
        position, entry = positions.get((wallet, coin), (Decimal(0), Decimal(0)))
        after = position + (size if side == "buy" else -size)
        before_side, after_side = ("Long" if value > 0 else "Short" for value in (position, after))
        if position == 0 or before_side == {"buy": "Long", "sell": "Short"}[side]:
            expected, expected_pnl = f"Open {after_side}", Decimal(0)
            entry = (abs(position) * entry + size * price) / abs(after)
        else:
            expected_pnl = min(size, abs(position)) * (price - entry) * (1 if position > 0 else -1)
            is_flip = after * position < 0
            expected = f"{before_side} > {after_side}" if is_flip else f"Close {before_side}"
            entry = price if is_flip else entry
        assert (start, direction) == (position, expected)
        assert abs(pnl - expected_pnl) < Decimal("0.001")
        directions.add(direction)
        positions[wallet, coin] = (after, entry)
    assert directions == {"Open Long", "Open Short", "Close Long", "Close Short", "Long > Short", "Short > Long"}


def test_fills_have_the_fees_of_a_taker(fills: pl.DataFrame) -> None:
    notional = (pl.col("price") * pl.col("size")).cast(pl.Float64)
    fee, builder_fee = pl.col("fee").cast(pl.Float64), pl.col("builder_fee").cast(pl.Float64).fill_null(0)
    perps = fills.filter(pl.col("asset_class") == "perp")
    assert perps.filter((fee - builder_fee - notional * 0.00045).abs() > 2e-6).is_empty()
    assert perps["fee_token"].unique().to_list() == ["USDC"]
    assert perps.filter(pl.col("builder").is_null() != pl.col("builder_fee").is_null()).is_empty()
    assert 0 < perps["builder"].count() < perps.height
    buys = fills.filter((pl.col("asset_class") == "spot") & (pl.col("side") == "buy"))
    assert set(buys["fee_token"]) == {"HYPE", "PURR"}
    assert buys.filter((fee - pl.col("size").cast(pl.Float64) * 0.0007).abs() > 2e-6).is_empty()
    sells = fills.filter((pl.col("asset_class") == "spot") & (pl.col("side") == "sell"))
    assert sells["fee_token"].unique().to_list() == ["USDC"]
    assert sells.filter(pl.col("start_position") < pl.col("size")).is_empty()


def test_fills_have_prices_and_sizes_of_the_exchange(fills: pl.DataFrame) -> None:
    """At most five significant digits, or an integer price; sizes in steps of the coin; slices at least 30 s apart."""
    digits = pl.col("price").cast(pl.String).str.strip_chars_end("0").str.replace(".", "", literal=True)
    is_integer = pl.col("price") == pl.col("price").cast(pl.Int64)
    assert fills.filter(~is_integer & (digits.str.strip_chars_start("0").str.len_bytes() > 5)).is_empty()
    for coin in COINS:
        sizes = fills.filter(pl.col("coin") == coin.name)["size"].cast(pl.String)
        fraction = sizes.str.split(".").list.get(1).str.strip_chars_end("0")
        assert fraction.str.len_bytes().max() == coin.size_decimals
    gaps = fills.select(pl.col("timestamp").diff().over("twap_id").dt.total_milliseconds())
    assert gaps["timestamp"].min() >= 30_000 * 0.4  # type: ignore[operator]


def test_spot_files_contain_fills_of_other_orders(full: tuple[Path, SampleSummary]) -> None:
    rows = pl.concat(map(pl.read_parquet, full[0].with_name(FILLS).glob("global/fills/spot/all/*/*.parquet")))
    without_order = rows.filter(pl.col("twap_id").is_null())
    assert without_order.height > 10
    sides = rows.group_by("trade_id").agg(pl.col("side").sort(), pl.col("address").n_unique().alias("wallets"))
    both = sides.filter(pl.col("side").list.len() == 2)
    assert both.height == without_order.height
    assert both["side"].unique(maintain_order=True).to_list() == [["buy", "sell"]]
    assert both["wallets"].unique().to_list() == [2]


def test_later_sample_contains_the_fills_of_the_earlier(small: tuple[Path, SampleSummary], tmp_path: Path) -> None:
    end = SMALL.until - timedelta(hours=21)
    generate_sample(tmp_path / "early", replace(SMALL, until=end))
    for path in objects_of(tmp_path / "early" / FILLS):
        later = pl.read_parquet(small[0].parent / path.relative_to(tmp_path / "early"))
        assert pl.read_parquet(path).rows() == later.filter(pl.col("timestamp") < end).rows()
