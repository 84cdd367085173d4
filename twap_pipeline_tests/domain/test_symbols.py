"""Markets and symbols of assets."""

from datetime import UTC, datetime, timedelta

import pytest

from twap_pipeline.domain.symbols import Market, SpotPair, SymbolResolver, market_of

pytestmark = pytest.mark.unit

RENAMED_AT = datetime(2025, 12, 1, tzinfo=UTC)
PAIRS = [
    SpotPair(107, "HYPE", "USDC", datetime(1970, 1, 1, tzinfo=UTC), None),
    SpotPair(7, "OLD", "USDC", datetime(1970, 1, 1, tzinfo=UTC), RENAMED_AT),
    SpotPair(7, "NEW", "USDH", RENAMED_AT, None),
]


@pytest.mark.parametrize(
    ("asset", "market"),
    [
        ("@107", Market.SPOT),
        ("PURR/USDC", Market.SPOT),
        ("@x", Market.SPOT),
        ("BTC", Market.PERP),
        ("kBONK", Market.PERP),
        ("xyz:NVDA", Market.PERP),
    ],
)
def test_market_of_asset_is_by_its_form(asset: str, market: Market) -> None:
    assert market_of(asset) is market


@pytest.mark.parametrize(
    ("asset", "text", "is_known"),
    [
        ("@107", "HYPE/USDC", True),
        ("PURR/USDC", "PURR/USDC", True),
        ("BTC", "BTC", True),
        ("xyz:NVDA", "xyz:NVDA", True),
        ("@999", "@999", False),
        ("@", "@", False),
        ("@\N{ARABIC-INDIC DIGIT SEVEN}", "@\N{ARABIC-INDIC DIGIT SEVEN}", False),
        ("/USDC", "/USDC", False),
    ],
)
def test_symbol_unknown_pair_stays_raw_and_is_said_so(asset: str, text: str, is_known: bool) -> None:
    symbol = SymbolResolver(PAIRS).resolve(asset, RENAMED_AT)

    assert (str(symbol), symbol.is_known) == (text, is_known)


def test_symbol_of_renamed_pair_is_that_of_the_time() -> None:
    resolver = SymbolResolver(PAIRS)
    times = (RENAMED_AT - timedelta(microseconds=1), RENAMED_AT)

    assert [str(resolver.resolve("@7", at)) for at in times] == ["OLD/USDC", "NEW/USDH"]
