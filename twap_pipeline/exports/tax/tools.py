"""The files of the tax tools, as data: header, date format, and what each column contains.

The headers are the vendors', to the letter: some tools refuse a file whose header differs. Each description links to
its source. A column contains a value of the trade (`Cell`) or the same text in every row; the columns of fees and fiat
values stay empty, because the feed contains neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Cell(Enum):
    """A value of a trade that a column can contain."""

    DATE = auto()
    SENT_AMOUNT = auto()
    SENT_CURRENCY = auto()
    RECEIVED_AMOUNT = auto()
    RECEIVED_CURRENCY = auto()
    BASE_AMOUNT = auto()
    BASE_CURRENCY = auto()
    QUOTE_AMOUNT = auto()
    QUOTE_CURRENCY = auto()
    BUY_OR_SELL = auto()
    TRADE_ID = auto()
    DESCRIPTION = auto()


@dataclass(frozen=True, slots=True)
class TaxTool:
    """The file of a tax tool.

    Args:
        title: Name of the tool.
        columns: Header of each column, in order, with its content.
        date_format: For ``strftime``; times are UTC.
        perpetuals: Why the file cannot contain perpetuals.
        decimals_max: Further decimals are truncated; None keeps all.
    """

    title: str
    columns: Mapping[str, Cell | str]
    date_format: str
    perpetuals: str
    decimals_max: int | None = None

    def truncates(self, quantity: str) -> bool:
        """Return whether a decimal has more decimals than the tool accepts, zeros at the end aside."""
        return self.decimals_max is not None and len(quantity.partition(".")[2].rstrip("0")) > self.decimals_max

    def accepted(self, quantity: str) -> str:
        """Return a positive decimal with the decimals that the tool accepts; the others are cut off."""
        if not self.truncates(quantity):
            return quantity
        whole, _, fraction = quantity.partition(".")
        return f"{whole}.{fraction[: self.decimals_max]}"


_US_DATE = "%m/%d/%Y %H:%M:%S"
_ISO_DATE = "%Y-%m-%d %H:%M:%S"

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
        "Fee Amount": "",
        "Fee Currency": "",
        "Transaction Hash": Cell.TRADE_ID,
        "Notes": Cell.DESCRIPTION,
        "Tag": "",
    },
    _US_DATE,
    "Awaken imports them from a separate file with the profit of every fill",
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
        "Fee Amount": "",
        "Fee Currency": "",
        "Net Worth Amount": "",
        "Net Worth Currency": "",
        "Label": "",
        "Description": Cell.DESCRIPTION,
        "TxHash": Cell.TRADE_ID,
    },
    f"{_ISO_DATE} UTC",
    "Koinly needs their realized profit, as a deposit or withdrawal labelled 'realized gain'",
)
"""https://support.koinly.io/en/articles/9489976-how-to-create-a-custom-csv-file-with-your-data"""

COINTRACKER = TaxTool(
    "CoinTracker",
    {
        "Date": Cell.DATE,
        "Received Quantity": Cell.RECEIVED_AMOUNT,
        "Received Currency": Cell.RECEIVED_CURRENCY,
        "Sent Quantity": Cell.SENT_AMOUNT,
        "Sent Currency": Cell.SENT_CURRENCY,
        "Fee Amount": "",
        "Fee Currency": "",
        "Tag": "",
    },
    _US_DATE,
    "CoinTracker needs their realized profit, with the tag 'margin gain' or 'margin loss'",
)
"""https://support.cointracker.io/hc/en-us/articles/4413071299729-Convert-your-transaction-history-to-CoinTracker-CSV"""

COINLEDGER = TaxTool(
    "CoinLedger",
    {
        "Date (UTC)": Cell.DATE,
        "Platform (Optional)": "Hyperliquid",
        "Asset Sent": Cell.SENT_CURRENCY,
        "Amount Sent": Cell.SENT_AMOUNT,
        "Asset Received": Cell.RECEIVED_CURRENCY,
        "Amount Received": Cell.RECEIVED_AMOUNT,
        "Fee Currency (Optional)": "",
        "Fee Amount (Optional)": "",
        "Type": "Trade",
        "Description (Optional)": Cell.DESCRIPTION,
        "TxHash (Optional)": Cell.TRADE_ID,
    },
    _US_DATE,
    "CoinLedger does not import them by CSV",
)
"""https://help.coinledger.io/en/articles/6028758-universal-manual-import-template-guide"""

ZENLEDGER = TaxTool(
    "ZenLedger",
    {
        "Timestamp": Cell.DATE,
        "Type": "Trade",
        "IN Amount": Cell.RECEIVED_AMOUNT,
        "IN Currency": Cell.RECEIVED_CURRENCY,
        "Out Amount": Cell.SENT_AMOUNT,
        "Out Currency": Cell.SENT_CURRENCY,
        "Fee Amount": "",
        "Fee Currency": "",
        "Exchange(optional)": "Hyperliquid",
        "US Based": "No",
    },
    "%Y-%m-%dT%H:%M:%SZ",
    "ZenLedger imports them as 'Margin Trade', which needs the profit",
)
"""https://support.zenledger.io/en/articles/7972857-glossary-for-zenledger-custom-csv"""

SUMM = TaxTool(
    "Summ",
    {
        "Timestamp (UTC)": Cell.DATE,
        "Type": Cell.BUY_OR_SELL,
        "Base Currency (Optional)": Cell.BASE_CURRENCY,
        "Base Amount (Optional)": Cell.BASE_AMOUNT,
        "Quote Currency (Optional)": Cell.QUOTE_CURRENCY,
        "Quote Amount (Optional)": Cell.QUOTE_AMOUNT,
        "Fee Currency (Optional)": "",
        "Fee Amount (Optional)": "",
        "From (Optional)": "",
        "To (Optional)": "",
        "ID (Optional)": Cell.TRADE_ID,
        "Description (Optional)": Cell.DESCRIPTION,
    },
    _ISO_DATE,
    "Summ needs their realized profit or loss",
)
"""https://help.cryptotaxcalculator.io/en/articles/5777675-advanced-custom-csv-import (Summ's former name)"""

COINPANDA = TaxTool(
    "Coinpanda",
    {
        "Timestamp (UTC)": Cell.DATE,
        "Type": "Trade",
        "Sent Amount": Cell.SENT_AMOUNT,
        "Sent Currency": Cell.SENT_CURRENCY,
        "Received Amount": Cell.RECEIVED_AMOUNT,
        "Received Currency": Cell.RECEIVED_CURRENCY,
        "Fee Amount": "",
        "Fee Currency": "",
        "Net Worth Amount": "",
        "Net Worth Currency": "",
        "Label": "",
        "Description": Cell.DESCRIPTION,
        "TxHash": Cell.TRADE_ID,
    },
    _ISO_DATE,
    "Coinpanda needs their realized profit",
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
