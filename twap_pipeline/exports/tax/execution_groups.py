"""Groups executions with the same outcome in a tax file: its review reads one row per group instead of every fill.

What `execution.execution_to_entries` makes of an execution depends on its texts, the names of its pair at its time, and
the kind of each decimal. If a rule there depends on anything else, add that to the key of the groups.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, TextualSelect, case, func, select, union
from sqlalchemy.dialects.postgresql import aggregate_order_by

from twap_pipeline.exports.tax.execution import COLUMNS
from twap_pipeline.storage.schema.models import spot_pairs

_TEXTS = ("twap_id", "is_spot", "asset", "side", "direction", "fee_token", "quote_symbol")
_DECIMALS = ("size", "notional", "realized_pnl", "fee", "net_profit", "closed_size", "opened_size")


def group_executions(executions: TextualSelect, decimals_max: int | None) -> Select[Any]:
    """Return a statement for groups of executions of an order, each with the same lines in a tax file.

    Rows: the columns `execution.COLUMNS` and the number of executions, in the order of the first execution. A value
    that differs within a group is that of one of its executions.

    Args:
        executions: Selects `execution.COLUMNS`.
        decimals_max: Decimals that the tool accepts; None is unlimited.
    """
    rows = executions.subquery("executions").c
    values = [rows[name] if name in _TEXTS else func.min(rows[name]).label(name) for name in COLUMNS]
    kinds = [_kind(rows[name]) for name in _DECIMALS]
    if decimals_max is not None:
        kinds += [func.length(func.split_part(rows[name], ".", 2)) > decimals_max for name in _DECIMALS]
    key = [
        *(rows[name] for name in _TEXTS),
        func.width_bucket(rows.executed_at, _pair_changes()),
        func.concat(*kinds),  # one text: PostgreSQL sorts it faster than 14 columns
    ]
    return select(*values, func.count()).group_by(*key).order_by(func.min(rows.executed_at), rows.twap_id)


def _pair_changes() -> ColumnElement[Any]:
    """Return the times at which names of spot pairs begin or end to apply, as a sorted array."""
    columns = spot_pairs.c
    times = union(
        select(columns.valid_from.label("at")), select(columns.valid_to).where(columns.valid_to.is_not(None))
    ).subquery("pair_changes")
    return select(func.array_agg(aggregate_order_by(times.c.at, times.c.at))).scalar_subquery()


def _kind(decimal: ColumnElement[str]) -> ColumnElement[Any]:
    """Return a letter: whether a decimal is NULL, zero, not finite, negative or positive."""
    return case(
        (decimal.is_(None), "?"),
        (decimal == "0", "0"),
        (decimal.in_(("NaN", "Infinity", "-Infinity")), "N"),
        (decimal.startswith("-"), "-"),
        else_="+",
    )
