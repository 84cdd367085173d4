"""The market of an asset in SQL, as `domain.symbols.market_of` in Python."""

from typing import Any

from sqlalchemy import ColumnElement, or_


def is_spot(asset: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return whether an asset is a spot pair: ``@107`` or ``PURR/USDC``; any other asset is a perpetual."""
    return or_(asset.startswith("@"), asset.contains("/"))
