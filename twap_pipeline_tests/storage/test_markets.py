"""Market and symbol in SQL: the functions and the fragments of ``.sql`` files equal `domain.symbols`."""

from typing import Any

from sqlalchemy import ColumnElement, Engine, Text, column, func, literal_column, select, text, values

from twap_pipeline.domain.symbols import Market, market_of
from twap_pipeline.storage.symbols.markets import FRAGMENTS, is_spot, symbol
from twap_pipeline.storage.symbols.spot_pairs import read_symbols

ASSETS = ("@107", "@999", "@x", "@1234567890", "PURR/USDC", "BTC", "kBONK", "xyz:NVDA")
FEED = values(column("asset", Text), name="feed").data([(asset,) for asset in ASSETS])


def test_sql_forms_of_market_and_symbol_equal_python(engine: Engine) -> None:
    """PostgreSQL returns NULL for an unknown pair."""
    fragments: list[ColumnElement[Any]] = [literal_column(FRAGMENTS[name]) for name in ("is_spot", "current_symbol")]
    statement = select(FEED.c.asset, is_spot(FEED.c.asset), symbol(FEED.c.asset, func.now()), *fragments)
    with engine.connect() as connection:
        now = connection.scalar(text("SELECT now()"))
        resolver = read_symbols(connection)
        rows = {asset: tuple(forms) for asset, *forms in connection.execute(statement)}

    for asset in ASSETS:
        resolved = resolver.resolve(asset, now)
        expected = market_of(asset) is Market.SPOT, str(resolved) if resolved.is_known else None
        assert rows[asset] == expected * 2, asset
