"""Coins, prices, sizes and notionals of the random orders, with plausible prices of August 2025.

An order's owner, duration and end belong in ``orders``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MICROS = 1_000_000
"""Sizes and notionals are integers in millionths until they become text, so that floats do not change digits."""

SIZE_DECIMALS_MAX = 6
"""Decimals of a millionth."""

MEDIAN_NOTIONAL_USD = 24_000.0


class Coin(NamedTuple):
    """A coin as the exchange writes it.

    Args:
        name: Perpetual (``BTC``), builder-deployed perpetual (``xyz:NVDA``) or spot (``@107``, ``PURR/USDC``).
        price_usd: Price at the start of the sample.
        size_decimals: Decimals that the exchange allows in a size; at most 6.
        weight: Share of the orders, relative to the other coins.
    """

    name: str
    price_usd: float
    size_decimals: int
    weight: float

    @property
    def is_spot(self) -> bool:
        """Whether the coin is a spot pair."""
        return self.name.startswith("@") or "/" in self.name

    @property
    def dex(self) -> str:
        """Exchange of the coin: the prefix of a builder-deployed perpetual, else ``hyperliquid``."""
        return self.name.partition(":")[0] if ":" in self.name else "hyperliquid"

    @property
    def base_symbol(self) -> str:
        """Readable symbol of the coin, without its exchange and its quote: ``HYPE`` of ``@107``."""
        name = self.name.partition(":")[2] or self.name
        return "HYPE" if name == "@107" else name.partition("/")[0]


COINS: tuple[Coin, ...] = (
    Coin("BTC", 117_400.0, 5, 20),
    Coin("ETH", 4_430.0, 4, 19),
    Coin("HYPE", 46.2, 2, 17),
    Coin("SOL", 191.0, 2, 10),
    Coin("@107", 46.2, 2, 6),
    Coin("kBONK", 0.0229, 0, 4),
    Coin("XRP", 3.08, 0, 4),
    Coin("PUMP", 0.0034, 0, 4),
    Coin("FARTCOIN", 0.94, 1, 3),
    Coin("xyz:NVDA", 180.4, 3, 3),
    Coin("DOGE", 0.231, 0, 2),
    Coin("SUI", 3.71, 1, 2),
    Coin("PURR/USDC", 0.19, 0, 2),
    Coin("kPEPE", 0.0111, 0, 2),
    Coin("LINK", 24.6, 1, 2),
    Coin("xyz:TSLA", 335.0, 3, 1),
)

_HOURLY_VOLATILITY = 0.006
_SLIPPAGE = 0.0008
_NOTIONAL_SIGMA = 1.6
_NOTIONAL_BOUNDS_USD = (100.0, 20_000_000.0)


def draw_trades(
    rng: np.random.Generator, hours: NDArray[np.int64], executed_share: NDArray[np.float64]
) -> dict[str, NDArray[np.generic]]:
    """Return the coin, size and executed figures of each order.

    Args:
        rng: The random generator.
        hours: Hour of each order, from 0; determines its price.
        executed_share: Executed share of each size, 0 to 1.

    Returns:
        One value per order: ``state_coin``; ``size_micros`` and ``executed_micros`` (millionths of a coin);
        ``notional_micros`` (executed, millionths of a dollar).
    """
    weights = np.array([coin.weight for coin in COINS])
    coin = rng.choice(len(COINS), hours.size, p=weights / weights.sum())
    price_usd = _draw_prices(rng, int(hours.max(initial=0)) + 1)[hours, coin]
    lot_micros = np.array([MICROS // 10**coin.size_decimals for coin in COINS])[coin]
    notional_usd = np.clip(
        rng.lognormal(np.log(MEDIAN_NOTIONAL_USD), _NOTIONAL_SIGMA, hours.size), *_NOTIONAL_BOUNDS_USD
    )
    lots = np.maximum(1, np.rint(notional_usd / price_usd * MICROS / lot_micros)).astype(np.int64)
    executed_micros = np.floor(lots * executed_share).astype(np.int64) * lot_micros
    executed_price_usd = price_usd * (1 + rng.normal(0.0, _SLIPPAGE, hours.size))
    return {
        "state_coin": np.array([coin.name for coin in COINS])[coin],
        "size_micros": lots * lot_micros,
        "executed_micros": executed_micros,
        "notional_micros": np.rint(executed_micros * executed_price_usd).astype(np.int64),
    }


def _draw_prices(rng: np.random.Generator, hours: int) -> NDArray[np.float64]:
    """Return prices in USD, shape (hours, coins): a random walk per coin."""
    steps = rng.normal(0.0, _HOURLY_VOLATILITY, (hours, len(COINS)))
    return np.array([coin.price_usd for coin in COINS]) * np.exp(np.cumsum(steps, axis=0))
