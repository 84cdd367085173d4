"""The readable symbol in every response that contains an asset."""

from collections.abc import Iterator
from typing import Any

import httpx2

from twap_pipeline_tests.api.serving import Tables
from twap_pipeline_tests.factories import WALLET, event

SYMBOLS = {
    "@107": "HYPE/USDC",
    "@99999": None,
    "@x": None,
    "PURR/USDC": "PURR/USDC",
    "BTC": "BTC",
    "xyz:NVDA": "xyz:NVDA",
}


def symbols_in(value: Any) -> Iterator[tuple[str, str | None]]:
    """Yield asset and symbol of each object below a JSON value that has an asset."""
    if isinstance(value, dict):
        if "asset" in value:
            yield value["asset"], value["symbol"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from symbols_in(item)


def test_response_has_the_symbol_of_each_asset(tables: Tables, client: httpx2.Client) -> None:
    rows = [event(number, asset=asset) for number, asset in enumerate(SYMBOLS, 1)]
    tables.load("a", rows)

    for path in ("orders", "events", "active", f"wallets/{WALLET}/summary", "stats/daily?start=2025-08-20"):
        assert dict(symbols_in(client.get(f"/api/v2/{path}").json())) == SYMBOLS, path


def test_order_has_the_symbol_of_its_last_event(tables: Tables, client: httpx2.Client) -> None:
    tables.load("a", [event(1, asset="@107"), event(2, asset="@107", minute=60 * 24)])
    with tables.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE spot_pairs SET valid_to = '2025-08-21' WHERE pair_index = 107")
        connection.exec_driver_sql(
            "INSERT INTO spot_pairs (pair_index, base, quote, valid_from, source)"
            " VALUES (107, 'WHYPE', 'USDC', '2025-08-21', 'test')"
        )

    orders = client.get("/api/v2/orders").json()["orders"]

    assert {order["twap_id"]: order["symbol"] for order in orders} == {"1": "HYPE/USDC", "2": "WHYPE/USDC"}
