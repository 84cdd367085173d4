"""The data sets of the pipeline: which rows an object contains, and which table they are written to.

A data set is described by one `DataSet`. Layers below and above take it as an argument instead of naming a table. How
the columns of its objects are read belongs in `source_schema` and `normalize` (statuses), or in `fills`.
"""

from dataclasses import dataclass

from twap_pipeline.domain import status


@dataclass(frozen=True, slots=True)
class DataSet:
    """One kind of objects, and the table that contains their rows.

    Args:
        name: Name of the table, of the asset, and of the data set in the ingest log.
        key_columns: Columns that identify a row; of several rows with one key, the precedence rule keeps one.
        content_columns: The other columns that the source determines.
        json_column: The content column that contains JSON.
        status_column: The column whose lifecycle rank the precedence rule compares first; None if there is none.
    """

    name: str
    key_columns: tuple[str, ...]
    content_columns: tuple[str, ...]
    json_column: str
    status_column: str | None = None

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns of a normalized frame, in order, after ``row_number`` (0-based position in the object)."""
        return (*self.key_columns, *self.content_columns)

    @property
    def quarantine_table(self) -> str:
        """Name of the table of the rows that could not be read without loss."""
        return f"{self.name}_quarantine"


TWAP_STATUS = DataSet(
    "twap_status",
    status.KEY_COLUMNS,
    status.CONTENT_COLUMNS,
    json_column="raw_payload",
    status_column="status",
)
"""Statuses of TWAP orders."""

FILL_DECIMALS = (
    *("price", "size", "realized_pnl", "start_position"),
    *("fee", "builder_fee", "deployer_fee", "priority_fee"),
)
"""Columns of fills that contain decimal numbers."""

TWAP_FILLS = DataSet(
    "twap_fills",
    ("trade_id", "wallet"),
    (
        *("twap_id", "ts", "asset", "market", "dex", "base_symbol", "quote_symbol", "side", "direction"),
        *("price", "size", "realized_pnl", "start_position", "fee", "fee_token"),
        *("builder_fee", "deployer_fee", "priority_fee", "order_id", "is_taker", "other_fields"),
    ),
    json_column="other_fields",
)
"""Fills of TWAP orders: the slices that the exchange executed, with their fees."""
