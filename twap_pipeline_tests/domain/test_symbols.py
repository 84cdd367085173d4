"""Names of spot pairs."""

from datetime import UTC, datetime, timedelta

import pytest

from twap_pipeline.domain.symbols import SpotPair, SymbolResolver

pytestmark = pytest.mark.unit

RENAMED_AT = datetime(2025, 12, 1, tzinfo=UTC)
PAIRS = [
    SpotPair(107, "HYPE", "USDC", datetime(1970, 1, 1, tzinfo=UTC), None),
    SpotPair(7, "OLD", "USDC", datetime(1970, 1, 1, tzinfo=UTC), RENAMED_AT),
    SpotPair(7, "NEW", "USDH", RENAMED_AT, None),
]


@pytest.mark.parametrize(
    ("asset", "names"),
    [
        ("@107", ("HYPE", "USDC")),
        ("PURR/USDC", ("PURR", "USDC")),
        ("BTC", None),
        ("xyz:NVDA", None),
        ("@999", None),
        ("@", None),
        ("@\N{ARABIC-INDIC DIGIT SEVEN}", None),
        ("/USDC", None),
    ],
)
def test_names_of_a_pair_are_none_unless_recorded(asset: str, names: tuple[str, str] | None) -> None:
    assert SymbolResolver(PAIRS).resolve(asset, RENAMED_AT) == names


def test_symbol_of_renamed_pair_is_that_of_the_time() -> None:
    resolver = SymbolResolver(PAIRS)
    times = (RENAMED_AT - timedelta(microseconds=1), RENAMED_AT)

    assert [resolver.resolve("@7", at) for at in times] == [("OLD", "USDC"), ("NEW", "USDH")]
