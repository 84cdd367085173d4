"""Markets and readable symbols: ``@107`` is the spot pair ``HYPE/USDC``; ``BTC`` and ``xyz:NVDA`` are perpetuals.

The feed and all tables keep the asset as the exchange writes it. The names of a spot pair are in the table
``spot_pairs`` (`storage.symbols.spot_pairs`), with the range in which they are valid, because the exchange can rename
tokens. This module defines what an asset means; keep tables and requests out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

_PAIR_INDEX = re.compile(r"@([0-9]{1,9})", re.ASCII)


class Market(StrEnum):
    """The market of an asset."""

    SPOT = "spot"
    PERP = "perp"


@dataclass(frozen=True, slots=True)
class SpotPair:
    """The names of a spot pair in a range of time.

    Args:
        pair_index: The exchange's index of the pair: 107 for ``@107``.
        base: Name of the token that is bought or sold: ``HYPE``.
        quote: Name of the token that pays: ``USDC``.
        valid_from: First time at which the names apply.
        valid_to: End of the range, exclusive; None while the names are current.
    """

    pair_index: int
    base: str
    quote: str
    valid_from: datetime
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class Symbol:
    """What an asset is called.

    Args:
        base: Coin or token: ``HYPE`` of ``@107``, ``BTC``, ``xyz:NVDA``; the raw asset if the pair is unknown.
        quote: Token that pays; None for a perpetual and for an unknown pair.
        is_known: False if the asset is a spot pair whose names are not recorded.
    """

    base: str
    quote: str | None
    is_known: bool = True

    def __str__(self) -> str:
        """Return ``HYPE/USDC`` for a spot pair, else the asset."""
        return self.base if self.quote is None else f"{self.base}/{self.quote}"


def market_of(asset: str) -> Market:
    """Return the market of an asset: ``@107`` and ``PURR/USDC`` are spot pairs, all others are perpetuals."""
    return Market.SPOT if asset.startswith("@") or "/" in asset else Market.PERP


class SymbolResolver:
    """Returns the symbol of an asset at a time.

    Args:
        pairs: The recorded names; the ranges of a pair do not overlap.
    """

    def __init__(self, pairs: Iterable[SpotPair] = ()) -> None:
        self._pairs: dict[int, list[SpotPair]] = {}
        for pair in pairs:
            self._pairs.setdefault(pair.pair_index, []).append(pair)

    def resolve(self, asset: str, at: datetime) -> Symbol:
        """Return the symbol of an asset; an unknown spot pair keeps its raw name, and `Symbol.is_known` is False.

        Args:
            asset: As the exchange writes it.
            at: The time whose names apply: of an order, the time of its last event.
        """
        base, slash, quote = asset.partition("/")
        if slash:
            return Symbol(base, quote, is_known=bool(base and quote))
        match = _PAIR_INDEX.fullmatch(asset)
        if match is None:
            return Symbol(asset, None, is_known=market_of(asset) is Market.PERP)
        for pair in self._pairs.get(int(match[1]), ()):
            if pair.valid_from <= at and (pair.valid_to is None or at < pair.valid_to):
                return Symbol(pair.base, pair.quote)
        return Symbol(asset, None, is_known=False)
