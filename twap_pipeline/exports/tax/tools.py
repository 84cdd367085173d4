"""The files of the tax tools, as data: header, date format, what each column contains, and the tool's own words.

The headers are the vendors', to the letter: some tools refuse a file whose header differs. Each description links to
its source. A column contains a value of an entry (`Cell`) or the same text in every row; the columns of fiat values
stay empty, because the feed contains none. How rows become entries belongs in `order_entries` and `fill_entries`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Cell(Enum):
    """A value of an entry that a column can contain. A cell that an entry does not have is empty."""

    DATE = auto()
    LABEL = auto()
    ROW_ID = auto()
    DESCRIPTION = auto()
    SENT_AMOUNT = auto()
    SENT_CURRENCY = auto()
    RECEIVED_AMOUNT = auto()
    RECEIVED_CURRENCY = auto()
    BASE_AMOUNT = auto()
    BASE_CURRENCY = auto()
    QUOTE_AMOUNT = auto()
    QUOTE_CURRENCY = auto()
    FEE_AMOUNT = auto()
    FEE_CURRENCY = auto()
    POSITION_ASSET = auto()
    POSITION_AMOUNT = auto()
    PROFIT = auto()
    PROFIT_CURRENCY = auto()


class Label(Enum):
    """What an entry is. Each tool has its own word for it, in the column `Cell.LABEL`."""

    BUY = auto()
    SELL = auto()
    PROFIT = auto()
    LOSS = auto()
    OPEN = auto()
    CLOSE = auto()


@dataclass(frozen=True, slots=True)
class TaxTool:
    """A file of a tax tool.

    Args:
        title: Name of the tool.
        columns: Header of each column, in order, with its content.
        date_format: For ``strftime``; times are UTC.
        labels: The tool's words. A file with `Label.PROFIT` can contain the net profit of perpetuals; a file with
            `Label.OPEN` contains positions, with profit and fee in columns of their own.
        perpetuals: The separate file for perpetuals; None if they are in this file or in none.
        no_perpetuals: Why no file of the tool can contain perpetuals.
        decimals_max: Further decimals are truncated; None keeps all.
    """

    title: str
    columns: Mapping[str, Cell | str]
    date_format: str
    labels: Mapping[Label, str]
    perpetuals: "TaxTool | None" = None
    no_perpetuals: str = ""
    decimals_max: int | None = None

    def truncates(self, quantity: str) -> bool:
        """Return whether a decimal has more decimals than the tool accepts, zeros at the end aside."""
        return self.decimals_max is not None and len(quantity.partition(".")[2].rstrip("0")) > self.decimals_max

    def accepted(self, quantity: str) -> str:
        """Return a decimal with the decimals that the tool accepts; the others are cut off, towards zero."""
        if not self.truncates(quantity):
            return quantity
        whole, _, fraction = quantity.partition(".")
        return f"{whole}.{fraction[: self.decimals_max]}"


_US_DATE = "%m/%d/%Y %H:%M:%S"
_ISO_DATE = "%Y-%m-%d %H:%M:%S"

_NO_LABELS = {Label.BUY: "", Label.SELL: ""}
_TRADE_TYPE = {Label.BUY: "Trade", Label.SELL: "Trade"}

AWAKEN_PERPETUALS = TaxTool(
    "Awaken",
    {
        "Date": Cell.DATE,
        "Asset": Cell.POSITION_ASSET,
        "Amount": Cell.POSITION_AMOUNT,
        "Fee": Cell.FEE_AMOUNT,
        "P&L": Cell.PROFIT,
        "Payment Token": Cell.PROFIT_CURRENCY,
        "ID": Cell.ROW_ID,
        "Notes": Cell.DESCRIPTION,
        "Tag": Cell.LABEL,
        "Transaction Hash": Cell.ROW_ID,
    },
    _US_DATE,
    {Label.OPEN: "open_position", Label.CLOSE: "close_position"},
    decimals_max=8,
)
"""https://help.awaken.tax, custom CSV for perpetuals: the profit is 0 when opening, and every hash is unique."""

AWAKEN = TaxTool(
    "Awaken",
    {
        "Date": Cell.DATE,
        "Received Quantity": Cell.RECEIVED_AMOUNT,
        "Received Currency": Cell.RECEIVED_CURRENCY,
        "Received Fiat Amount": "",
        "Sent Quantity": Cell.SENT_AMOUNT,
        "Sent Currency": Cell.SENT_CURRENCY,
        "Sent Fiat Amount": "",
        "Fee Amount": Cell.FEE_AMOUNT,
        "Fee Currency": Cell.FEE_CURRENCY,
        "Transaction Hash": Cell.ROW_ID,
        "Notes": Cell.DESCRIPTION,
        "Tag": Cell.LABEL,
    },
    _US_DATE,
    _NO_LABELS,
    perpetuals=AWAKEN_PERPETUALS,
    decimals_max=8,
)
"""https://help.awaken.tax, custom CSV: no negative numbers, at most 8 decimals."""

KOINLY = TaxTool(
    "Koinly",
    {
        "Date": Cell.DATE,
        "Sent Amount": Cell.SENT_AMOUNT,
        "Sent Currency": Cell.SENT_CURRENCY,
        "Received Amount": Cell.RECEIVED_AMOUNT,
        "Received Currency": Cell.RECEIVED_CURRENCY,
        "Fee Amount": Cell.FEE_AMOUNT,
        "Fee Currency": Cell.FEE_CURRENCY,
        "Net Worth Amount": "",
        "Net Worth Currency": "",
        "Label": Cell.LABEL,
        "Description": Cell.DESCRIPTION,
        "TxHash": Cell.ROW_ID,
    },
    f"{_ISO_DATE} UTC",
    {**_NO_LABELS, Label.PROFIT: "realized gain", Label.LOSS: "realized gain"},
)
"""https://support.koinly.io/en/articles/9489976-how-to-create-a-custom-csv-file-with-your-data; of perpetuals,
https://support.koinly.io/en/articles/9490027-futures-and-perpetuals-pnl-transactions: one label for gain and loss.
"""

COINTRACKER = TaxTool(
    "CoinTracker",
    {
        "Date": Cell.DATE,
        "Received Quantity": Cell.RECEIVED_AMOUNT,
        "Received Currency": Cell.RECEIVED_CURRENCY,
        "Sent Quantity": Cell.SENT_AMOUNT,
        "Sent Currency": Cell.SENT_CURRENCY,
        "Fee Amount": Cell.FEE_AMOUNT,
        "Fee Currency": Cell.FEE_CURRENCY,
        "Tag": Cell.LABEL,
    },
    _US_DATE,
    {**_NO_LABELS, Label.PROFIT: "margin gain", Label.LOSS: "margin loss"},
)
"""https://support.cointracker.io/hc/en-us/articles/4413071299729-Convert-your-transaction-history-to-CoinTracker-CSV;
the tags: https://support.cointracker.io/hc/en-us/articles/4413049710225-Transaction-category-definitions
"""

COINLEDGER = TaxTool(
    "CoinLedger",
    {
        "Date (UTC)": Cell.DATE,
        "Platform (Optional)": "Hyperliquid",
        "Asset Sent": Cell.SENT_CURRENCY,
        "Amount Sent": Cell.SENT_AMOUNT,
        "Asset Received": Cell.RECEIVED_CURRENCY,
        "Amount Received": Cell.RECEIVED_AMOUNT,
        "Fee Currency (Optional)": Cell.FEE_CURRENCY,
        "Fee Amount (Optional)": Cell.FEE_AMOUNT,
        "Type": Cell.LABEL,
        "Description (Optional)": Cell.DESCRIPTION,
        "TxHash (Optional)": Cell.ROW_ID,
    },
    _US_DATE,
    _TRADE_TYPE,
    no_perpetuals="CoinLedger does not import them by CSV",
)
"""https://help.coinledger.io/en/articles/6028758-universal-manual-import-template-guide"""

ZENLEDGER = TaxTool(
    "ZenLedger",
    {
        "Timestamp": Cell.DATE,
        "Type": Cell.LABEL,
        "IN Amount": Cell.RECEIVED_AMOUNT,
        "IN Currency": Cell.RECEIVED_CURRENCY,
        "Out Amount": Cell.SENT_AMOUNT,
        "Out Currency": Cell.SENT_CURRENCY,
        "Fee Amount": Cell.FEE_AMOUNT,
        "Fee Currency": Cell.FEE_CURRENCY,
        "Exchange(optional)": "Hyperliquid",
        "US Based": "No",
    },
    "%Y-%m-%dT%H:%M:%SZ",
    {**_TRADE_TYPE, Label.PROFIT: "Margin Trade", Label.LOSS: "Margin Trade"},
)
"""https://support.zenledger.io/en/articles/7972857-glossary-for-zenledger-custom-csv"""

SUMM = TaxTool(
    "Summ",
    {
        "Timestamp (UTC)": Cell.DATE,
        "Type": Cell.LABEL,
        "Base Currency (Optional)": Cell.BASE_CURRENCY,
        "Base Amount (Optional)": Cell.BASE_AMOUNT,
        "Quote Currency (Optional)": Cell.QUOTE_CURRENCY,
        "Quote Amount (Optional)": Cell.QUOTE_AMOUNT,
        "Fee Currency (Optional)": Cell.FEE_CURRENCY,
        "Fee Amount (Optional)": Cell.FEE_AMOUNT,
        "From (Optional)": "",
        "To (Optional)": "",
        "ID (Optional)": Cell.ROW_ID,
        "Description (Optional)": Cell.DESCRIPTION,
    },
    _ISO_DATE,
    {Label.BUY: "buy", Label.SELL: "sell", Label.PROFIT: "realized-profit", Label.LOSS: "realized-loss"},
)
"""https://help.cryptotaxcalculator.io/en/articles/5777675-advanced-custom-csv-import (Summ's former name)"""

COINPANDA = TaxTool(
    "Coinpanda",
    {
        "Timestamp (UTC)": Cell.DATE,
        "Type": Cell.LABEL,
        "Sent Amount": Cell.SENT_AMOUNT,
        "Sent Currency": Cell.SENT_CURRENCY,
        "Received Amount": Cell.RECEIVED_AMOUNT,
        "Received Currency": Cell.RECEIVED_CURRENCY,
        "Fee Amount": Cell.FEE_AMOUNT,
        "Fee Currency": Cell.FEE_CURRENCY,
        "Net Worth Amount": "",
        "Net Worth Currency": "",
        "Label": "",
        "Description": Cell.DESCRIPTION,
        "TxHash": Cell.ROW_ID,
    },
    _ISO_DATE,
    _TRADE_TYPE,
    no_perpetuals="Coinpanda does not document a label for their realized profit",
)
"""https://help.coinpanda.io/en/articles/3839231-import-of-generic-excel-file"""

TOOLS: Mapping[str, TaxTool] = {
    "awaken": AWAKEN,
    "koinly": KOINLY,
    "cointracker": COINTRACKER,
    "coinledger": COINLEDGER,
    "zenledger": ZENLEDGER,
    "summ": SUMM,
    "coinpanda": COINPANDA,
}
"""The tools by the name of their format."""
