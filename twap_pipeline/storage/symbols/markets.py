"""SQL expressions for the market and the readable symbol of an asset; `domain.symbols` has the names in Python.

Statements in SQLAlchemy use the functions. A ``.sql`` file contains ``{is_spot}`` or ``{current_symbol}``, and its
module passes `FRAGMENTS` to `load_queries`.
"""

from typing import Any

from sqlalchemy import ColumnElement, Integer, case, cast, func, literal, or_, select

from twap_pipeline.storage.schema.models import spot_pairs


def is_spot(asset: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return whether an asset is a spot pair: ``@107`` or ``PURR/USDC``; any other asset is a perpetual."""
    return or_(asset.startswith("@"), asset.contains("/"))


def symbol(asset: ColumnElement[Any], at: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the symbol of an asset at a time: ``HYPE/USDC`` for ``@107``, NULL for an unknown pair, else the asset."""
    columns = spot_pairs.c
    names = (
        select(columns.base + "/" + columns.quote)
        .where(
            columns.pair_index == cast(func.substr(asset, literal(2)), Integer),
            columns.valid_from <= at,
            or_(columns.valid_to.is_(None), columns.valid_to > at),
        )
        .scalar_subquery()
    )
    return case((asset.regexp_match("^@[0-9]{1,9}$"), names), (asset.startswith("@"), None), else_=asset)


FRAGMENTS = {
    "is_spot": "(asset LIKE '@%' OR asset LIKE '%/%')",
    "current_symbol": "CASE WHEN asset ~ '^@[0-9]{1,9}$' THEN (SELECT base || '/' || quote FROM spot_pairs"
    " WHERE pair_index = substr(asset, 2)::integer AND valid_to IS NULL) WHEN asset NOT LIKE '@%' THEN asset END",
}
"""SQL text for ``.sql`` files: `is_spot`, and `symbol` with the present names, of the column ``asset``."""
