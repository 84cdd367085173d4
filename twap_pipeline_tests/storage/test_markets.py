"""Market and symbol in SQL: functions and fragments of ``.sql`` files are equal, and contain the recorded names."""

from typing import Any

from sqlalchemy import ColumnElement, Engine, Text, column, func, literal_column, select, text, values

from twap_pipeline.storage.symbols.markets import FRAGMENTS, is_spot, symbol
from twap_pipeline.storage.symbols.spot_pairs import read_symbols

SPOT_ASSETS = ("@107", "@999", "@x", "@1234567890", "PURR/USDC")
ASSETS = (*SPOT_ASSETS, "BTC", "kBONK", "xyz:NVDA")
FEED = values(column("asset", Text), name="feed").data([(asset,) for asset in ASSETS])


def test_sql_forms_of_market_and_symbol_are_equal(engine: Engine) -> None:
    """PostgreSQL returns NULL for an unknown pair."""
    fragments: list[ColumnElement[Any]] = [literal_column(FRAGMENTS[name]) for name in ("is_spot", "current_symbol")]
    statement = select(FEED.c.asset, is_spot(FEED.c.asset), symbol(FEED.c.asset, func.now()), *fragments)
    with engine.connect() as connection:
        now = connection.scalar(text("SELECT now()"))
        resolver = read_symbols(connection)
        rows = {asset: tuple(forms) for asset, *forms in connection.execute(statement)}

    for asset in ASSETS:
        pair = resolver.resolve(asset, now)
        expected = (True, pair and "/".join(pair)) if asset in SPOT_ASSETS else (False, asset)
        assert rows[asset] == expected * 2, asset
