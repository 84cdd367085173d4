"""Fills of the random orders: the slices that the exchange executes, with prices, fees and running positions.

One row per fill, as integers; `fill_files` writes them in the vendor's columns. The orders are those of ``orders``, and
their sizes and prices those of ``prices``. Like the random orders, fills do not follow the flag `reduceOnly`.
"""

from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twap_pipeline.sample.orders import MILLISECOND_NS, SECOND_NS
from twap_pipeline.sample.prices import COINS, MICROS, SIZE_DECIMALS_MAX

SLICE_SECONDS = 30
SLICES_MAX = 120
"""Slices of the first order that is long enough. A real order has a slice every `SLICE_SECONDS`; the others have fewer,
at a longer interval, so that the sample stays small."""

PRICE_DECIMALS = 8
"""Prices are integers in units of 0.00000001 dollars until they become decimals."""

_PRICE_DIGITS = 5
"""Significant digits that the exchange allows in a price; it allows every integer."""

NO_ORDER_TWAP_ID = 1_048_000
"""Id of the order of the fill without an order; smaller than the twap_id of every order."""

_SLICES_OF_DAMAGED_ORDER = 3
_NO_ORDER_WALLET = "0x" + "f0" * 20
_FIRST_TRADE_ID = 412_000_000_000_000
_FIRST_ORDER_ID = 38_000_000_000
_PRICE_NOISE = 0.0005
_FEE_PERP, _FEE_SPOT, _FEE_BUILDER, _FEE_DEPLOYER = 450, 700, 100, 225
"""Fees in millionths of the notional."""

_ORDERS_PER_BUILDER_ORDER = 20
_SLICES = (1, 1, 2, 2, 3)
"""Slices of most orders, in turn."""

_SLICES_DETAILED, _ORDERS_PER_DETAILED_ORDER = 40, 200


def draw_fills(rng: np.random.Generator, orders: pl.DataFrame, first_day: datetime) -> pl.DataFrame:
    """Return the fills of the orders of ``orders.draw_orders``, sorted by time; sizes add up to `executed_micros`.

    An order has fills from its activation, or from the first day if it began before, until it pauses or ends.

    Args:
        rng: The random generator.
        orders: Of ``draw_orders``; orders that ended before the first day, or executed nothing, have no fills.
        first_day: Midnight, aware UTC.

    Returns:
        `twap_id`, `wallet`, `coin`, `is_buy`, `time_ms`, `trade_id` and `order_id` (consecutive), `price` (integer, see
        `PRICE_DECIMALS`), `position_id` (equal for one wallet and coin), `is_spot`, `has_builder`; in millionths of a
        coin or a dollar `size_micros`, `notional_micros`, `fee_micros`, `builder_fee_micros`, `deployer_fee_micros`
        (null without a builder or a deployer).
        A spot buy's `fee_micros` are of the bought token, all other fees are dollars.
    """
    fills = _draw_slices(rng, _lives(orders, first_day)).sort("time_ms", "twap_id", maintain_order=True)
    fills = fills.with_columns(
        (_FIRST_TRADE_ID + pl.int_range(pl.len())).alias("trade_id"),
        (_FIRST_ORDER_ID + pl.int_range(pl.len())).alias("order_id"),
    )
    return _add_fees(fills)


def add_positions(fills: pl.DataFrame) -> pl.DataFrame:
    """Return the fills with `start_position_micros`, before the fill, and `pnl_micros`, of its closed part.

    Every perpetual position is 0 before its first fill. A spot balance is so large that it never becomes negative, and
    its sales have no profit.
    """
    size, is_spot = pl.col("size_micros"), pl.col("is_spot")
    signed = pl.when(pl.col("is_buy")).then(size).otherwise(-size)
    after = signed.cum_sum().over("position_id")
    initial = pl.when(is_spot).then(-pl.min_horizontal(0, after.min().over("position_id"))).otherwise(0)
    fills = fills.sort("position_id", "trade_id").with_columns(
        (after - signed + initial).alias("start_position_micros")
    )
    pnl = pl.when(~is_spot).then(_realized_pnl(fills)).otherwise(0).alias("pnl_micros")
    return fills.with_columns(pnl).sort("trade_id")


def _realized_pnl(fills: pl.DataFrame) -> pl.Series:
    """Return the profit of each fill over the average entry price; the fills of a position are consecutive."""
    profits, entry_micros = [], 0
    columns = ("start_position_micros", "is_buy", "size_micros", "notional_micros")
    for position, is_buy, size, notional in fills.select(columns).iter_rows():
        if position == 0:
            entry_micros = 0
        if position == 0 or (position > 0) == is_buy:
            entry_micros += notional
            profits.append(0)
            continue
        closed = min(size, abs(position))
        closed_entry, closed_exit = entry_micros * closed // abs(position), notional * closed // size
        profits.append(closed_entry - closed_exit if is_buy else closed_exit - closed_entry)
        entry_micros = entry_micros - closed_entry if size <= abs(position) else notional - closed_exit
    return pl.Series("pnl_micros", profits, pl.Int64)


def add_faults(fills: pl.DataFrame, complete: pl.Series) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the fills with deliberate faults, and the name of each fault → id of its order.

    `missing_slice`: the second fill of a finished order does not exist. `no_order`: a fill of an order that has no
    status.

    Args:
        fills: Of `add_positions`.
        complete: Ids of the finished orders of the first day, of which one loses a fill.
    """
    perps = fills.filter(~pl.col("is_spot"))
    has_slices = pl.len().over("twap_id") >= _SLICES_OF_DAMAGED_ORDER
    damaged = perps.filter(pl.col("twap_id").is_in(complete.implode()) & has_slices)["twap_id"].min()
    missing = fills.filter(pl.col("twap_id") == damaged)["trade_id"][1]
    no_order = perps.head(1).with_columns(
        pl.lit(NO_ORDER_TWAP_ID, pl.Int64).alias("twap_id"),
        pl.lit(_NO_ORDER_WALLET).alias("wallet"),
        pl.lit(_FIRST_TRADE_ID - 1).alias("trade_id"),
        pl.lit(_FIRST_ORDER_ID - 1).alias("order_id"),
    )
    kept = fills.filter(pl.col("trade_id") != missing)
    faults = {"missing_slice": str(damaged), "no_order": str(NO_ORDER_TWAP_ID)}
    return pl.concat([kept, no_order]).sort("time_ms", maintain_order=True), faults


def _lives(orders: pl.DataFrame, first_day: datetime) -> pl.DataFrame:
    """Return the orders with fills, and the time from `start_ns` to `end_ns` in which they are filled."""
    coins = pl.col("state_coin")
    return (
        orders.filter(pl.col("executed_micros") > 0)
        .with_columns(
            pl.max_horizontal("activated_ns", pl.lit(int(first_day.timestamp()) * SECOND_NS)).alias("start_ns"),
            coins.replace_strict({coin.name: coin.size_decimals for coin in COINS}).alias("size_decimals"),
            coins.is_in([coin.name for coin in COINS if coin.is_spot]).alias("is_spot"),
            (pl.col("twap_id") % _ORDERS_PER_BUILDER_ORDER == 0).alias("has_builder"),
            pl.concat_str("state_user", "state_coin").rank("dense").alias("position_id"),
        )
        .with_columns(
            (pl.col("has_builder") & ~pl.col("is_spot")).alias("has_builder"),
            pl.when(pl.col("paused_ns") > pl.col("start_ns")).then("paused_ns").otherwise("ended_ns").alias("end_ns"),
        )
        .filter(pl.col("end_ns") > pl.col("start_ns"))
    )


def _draw_slices(rng: np.random.Generator, orders: pl.DataFrame) -> pl.DataFrame:
    """Return one row per slice: an order's slices have equal sizes, up to one step of the coin's size."""
    size_decimals = orders["size_decimals"].to_numpy()
    lot_micros = 10 ** (SIZE_DECIMALS_MAX - size_decimals)
    lots = orders["executed_micros"].to_numpy() // lot_micros
    life_ns = orders["end_ns"].to_numpy() - orders["start_ns"].to_numpy()
    counts_max = np.minimum(life_ns // (SLICE_SECONDS * SECOND_NS), lots)
    counts = np.array(_SLICES)[orders["twap_id"].to_numpy() % len(_SLICES)]
    counts[orders["twap_id"].to_numpy() % _ORDERS_PER_DETAILED_ORDER == 0] = _SLICES_DETAILED
    counts[np.argmax(counts_max >= SLICES_MAX)] = SLICES_MAX
    counts = np.clip(counts, 1, np.maximum(1, counts_max))
    order = np.repeat(np.arange(orders.height), counts)
    number = np.arange(order.size) - np.repeat(np.cumsum(counts) - counts, counts)
    count, life_ns = counts[order], life_ns[order]
    price_usd = (orders["notional_micros"] / orders["executed_micros"]).to_numpy()
    price_usd = price_usd[order] * (1 + rng.normal(0.0, _PRICE_NOISE, order.size))
    decimals = _price_decimals(price_usd, size_decimals[order])
    ticks = np.maximum(1, np.rint(price_usd * 10.0**decimals).astype(np.int64))
    slice_lots = lots[order] * (number + 1) // count - lots[order] * number // count
    offset_ns = (life_ns * ((number + rng.uniform(0.2, 0.8, order.size)) / count)).astype(np.int64)
    columns = ("twap_id", "position_id", "state_user", "state_coin", "is_spot", "has_builder", "state_side")
    return (
        orders.select(columns)[order]
        .rename({"state_user": "wallet", "state_coin": "coin"})
        .with_columns(
            (pl.col("state_side") == "B").alias("is_buy"),
            pl.Series("time_ms", (orders["start_ns"].to_numpy()[order] + offset_ns) // MILLISECOND_NS),
            pl.Series("price", ticks * 10 ** (PRICE_DECIMALS - decimals)),
            pl.Series("size_micros", slice_lots * lot_micros[order]),
            pl.Series(
                "notional_micros", slice_lots * ticks * 10 ** (SIZE_DECIMALS_MAX - size_decimals[order] - decimals)
            ),
        )
    )


def _price_decimals(price_usd: NDArray[np.float64], size_decimals: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the decimals of each price. A price and a size together have at most six decimals."""
    digits = np.floor(np.log10(price_usd)).astype(np.int64) + 1
    return np.clip(_PRICE_DIGITS - digits, 0, SIZE_DECIMALS_MAX - size_decimals)


def _add_fees(fills: pl.DataFrame) -> pl.DataFrame:
    """Return the fills with their fees, rounded to millionths. The fee includes the fee of the builder."""
    notional, is_spot_buy = pl.col("notional_micros"), pl.col("is_spot") & pl.col("is_buy")
    builder = pl.when("has_builder").then(_share(notional, _FEE_BUILDER))
    deployer = pl.when(pl.col("coin").str.contains(":", literal=True)).then(_share(notional, _FEE_DEPLOYER))
    perp = _share(notional, _FEE_PERP) + builder.fill_null(0)
    spot = _share(pl.when(is_spot_buy).then("size_micros").otherwise(notional), _FEE_SPOT)
    return fills.with_columns(
        pl.when("is_spot").then(spot).otherwise(perp).alias("fee_micros"),
        builder.alias("builder_fee_micros"),
        deployer.alias("deployer_fee_micros"),
    )


def _share(amount: pl.Expr, millionths: int) -> pl.Expr:
    return (amount * millionths + MICROS // 2) // MICROS
