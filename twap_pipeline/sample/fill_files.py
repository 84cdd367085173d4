"""The fills of the sample in the vendor's columns, and the keys of their files: one file per exchange and UTC day.

Columns, types and keys are those of the vendor's documentation. The content of the fills belongs in ``fills``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl

from twap_pipeline.sample.fills import PRICE_DECIMALS
from twap_pipeline.sample.prices import COINS, SIZE_DECIMALS_MAX

PERP_KEY = "by_dex/{dex}/fills/perp/twap_fills/date={day}/fills.parquet"
SPOT_KEY = "global/fills/spot/all/date={day}/fills.parquet"

FIRST_DAYS: dict[str, date] = {"deployer_fee": date(2026, 3, 21), "priority_gas": date(2026, 4, 13)}
"""First file date of the columns that the vendor added later."""

_PUBLISHED_AT = time(10)
"""UTC time of the next day at which the vendor publishes a day."""

_DECIMAL = pl.Decimal(20, 10)
_BUILDER, _MAKER = "0x" + "b1" * 20, "0x" + "c0" * 20
_SPOT_FILLS_PER_MAKER_FILL = 4


@dataclass(frozen=True, slots=True)
class FillObject:
    """A file of fills.

    Args:
        key: Path below the prefix.
        rows: Its rows, in the vendor's columns.
        written_at: LastModified, aware UTC.
    """

    key: str
    rows: pl.DataFrame
    written_at: datetime


def assign_to_files(fills: pl.DataFrame, until: datetime) -> Iterator[FillObject]:
    """Yield the files of fills, by key.

    The files of the last two days can be older than the vendor's: they contain the fills before the sample's end, and
    are written at that time.

    Args:
        fills: Of ``fills.add_positions``.
        until: End of the sample, aware UTC.
    """
    rows = vendor_rows(fills)
    rows = pl.concat([rows, _maker_fills(rows)]).with_columns(pl.col("timestamp").dt.date().alias("day"))
    parts = rows.partition_by("asset_class", "dex", "day", maintain_order=True, as_dict=True)
    for (asset_class, dex, day), part in sorted(parts.items()):
        key = (SPOT_KEY if asset_class == "spot" else PERP_KEY).format(dex=dex, day=day)
        columns_of_later_days = [name for name, first_day in FIRST_DAYS.items() if day < first_day]
        published_at = datetime.combine(day + timedelta(days=1), _PUBLISHED_AT, UTC)
        yield FillObject(key, part.drop("day", *columns_of_later_days), min(published_at, until))


def vendor_rows(fills: pl.DataFrame) -> pl.DataFrame:
    """Return the fills of ``fills.add_positions`` in the vendor's columns, in the order of the documentation."""
    is_spot, is_buy = pl.col("is_spot"), pl.col("is_buy")
    base = _by_coin({coin.name: coin.base_symbol for coin in COINS})
    return fills.select(
        "coin",
        _by_coin({coin.name: coin.dex for coin in COINS}).alias("dex"),
        pl.when(is_spot).then(pl.lit("spot")).otherwise(pl.lit("perp")).alias("asset_class"),
        base.alias("base_symbol"),
        pl.lit("USDC").alias("quote_symbol"),
        _decimal("price", PRICE_DECIMALS).alias("price"),
        _decimal("size_micros").alias("size"),
        pl.when(is_buy).then(pl.lit("buy")).otherwise(pl.lit("sell")).alias("side"),
        pl.col("time_ms").cast(pl.Datetime("ms", "UTC")).alias("timestamp"),
        _direction().alias("direction"),
        _decimal("pnl_micros").alias("realized_pnl"),
        _decimal("start_position_micros").alias("start_position"),
        _decimal("fee_micros").alias("fee"),
        pl.when(is_spot & is_buy).then(base).otherwise(pl.lit("USDC")).alias("fee_token"),
        pl.lit("0x" + "0" * 64).alias("tx_hash"),
        pl.col("order_id", "trade_id").cast(pl.UInt64),
        pl.col("wallet").alias("address"),
        pl.lit(value=True).alias("crossed"),
        pl.lit(None, pl.String).alias("client_order_id"),
        pl.when("has_builder").then(pl.lit(_BUILDER)).alias("builder"),
        _decimal("builder_fee_micros").alias("builder_fee"),
        _decimal("deployer_fee_micros").alias("deployer_fee"),
        pl.lit(None, _DECIMAL).alias("priority_gas"),
        pl.col("twap_id").cast(pl.UInt64),
        pl.lit(value=False).alias("is_liquidation"),
        pl.lit(None, _DECIMAL).alias("liquidation_mark_px"),
        pl.lit(None, pl.String).alias("liquidation_method"),
    )


def _by_coin(values: dict[str, str]) -> pl.Expr:
    return pl.col("coin").replace_strict(values)


def _decimal(name: str, decimals: int = SIZE_DECIMALS_MAX) -> pl.Expr:
    """Return an integer column as decimal(20, 10), exactly; ``decimals`` of its digits are decimals."""
    return (pl.col(name).cast(pl.Decimal(38, 0)) * pl.lit(Decimal(1).scaleb(-decimals))).cast(_DECIMAL)


def _direction() -> pl.Expr:
    """Return the direction of each fill, from the position before it."""
    position, size, is_buy = pl.col("start_position_micros"), pl.col("size_micros"), pl.col("is_buy")
    return (
        pl.when(pl.col("is_spot") & is_buy)
        .then(pl.lit("Buy"))
        .when(pl.col("is_spot"))
        .then(pl.lit("Sell"))
        .when(is_buy & (position >= 0))
        .then(pl.lit("Open Long"))
        .when(is_buy & (size > -position))
        .then(pl.lit("Short > Long"))
        .when(is_buy)
        .then(pl.lit("Close Short"))
        .when(position <= 0)
        .then(pl.lit("Open Short"))
        .when(size > position)
        .then(pl.lit("Long > Short"))
        .otherwise(pl.lit("Close Long"))
    )


def _maker_fills(rows: pl.DataFrame) -> pl.DataFrame:
    """Return fills of another wallet without a TWAP order: the other side of some spot trades."""
    is_buy, zero = pl.col("side") == "buy", pl.lit(0, _DECIMAL)
    is_copied = (pl.col("asset_class") == "spot") & (pl.col("trade_id") % _SPOT_FILLS_PER_MAKER_FILL == 0)
    return rows.filter(is_copied).with_columns(
        pl.when(is_buy).then(pl.lit("sell")).otherwise(pl.lit("buy")).alias("side"),
        pl.when(is_buy).then(pl.lit("Sell")).otherwise(pl.lit("Buy")).alias("direction"),
        pl.lit(_MAKER).alias("address"),
        pl.lit(value=False).alias("crossed"),
        pl.lit(None, pl.UInt64).alias("twap_id"),
        *(zero.alias(name) for name in ("realized_pnl", "start_position", "fee")),
    )
