"""Markets and spot pairs: ``@107`` is the spot pair ``HYPE/USDC``; ``BTC`` and ``xyz:NVDA`` are perpetuals.

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


class SymbolResolver:
    """Returns the names of a spot pair at a time, from recorded names; the ranges of a pair do not overlap."""

    def __init__(self, pairs: Iterable[SpotPair] = ()) -> None:
        self._pairs: dict[int, list[SpotPair]] = {}
        for pair in pairs:
            self._pairs.setdefault(pair.pair_index, []).append(pair)

    def resolve(self, asset: str, at: datetime) -> tuple[str, str] | None:
        """Return base and quote of a spot pair at a time; None for a perpetual, and if the names are not recorded.

        The time of an order is that of its last event.
        """
        base, slash, quote = asset.partition("/")
        if slash:
            return (base, quote) if base and quote else None
        match = _PAIR_INDEX.fullmatch(asset)
        for pair in self._pairs.get(int(match[1]), ()) if match else ():
            if pair.valid_from <= at and (pair.valid_to is None or at < pair.valid_to):
                return pair.base, pair.quote
        return None
