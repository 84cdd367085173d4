"""The types of fields: pattern, description and example of each kind of value."""

from typing import Annotated, Any, Literal

from pydantic import Field

Decimal = Annotated[
    str,
    Field(
        pattern=r"^-?\d+(\.\d+)?$",
        description="Exact decimal as a string, without an exponent.",
        examples=["69.19637"],
    ),
]
Timestamp = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$",
        description="RFC 3339, UTC, microseconds.",
        examples=["2025-08-26T15:25:54.579723Z"],
    ),
]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="UTC day.", examples=["2025-08-26"])]
Side = Annotated[str | None, Field(description="B = buy, A = sell (ask).", examples=["B"])]
FillSide = Annotated[str, Field(description="buy or sell, as in the vendor's files.", examples=["buy"])]
Status = Annotated[
    str | None,
    Field(
        description="activated, waitingForTrigger, finished, terminated, error, stopped, or a newer value, verbatim."
        " A finished order can be underfilled; a terminated or failed order can have executed something. The sizes are"
        " authoritative.",
        examples=["finished"],
    ),
]
Asset = Annotated[
    str | None,
    Field(
        description="As the exchange writes it: BTC, kBONK, xyz:NVDA, @107 or PURR/USDC (spot).",
        examples=["BTC"],
    ),
]
Wallet = Annotated[
    str,
    Field(
        pattern="^0x[0-9a-f]{40}$",
        description="Lower case.",
        examples=["0x6fa44c6d0584c9f27551533482b256a102194330"],
    ),
]
WalletAsStored = Annotated[
    str, Field(description="Lower case.", examples=["0x6fa44c6d0584c9f27551533482b256a102194330"])
]
TwapId = Annotated[str, Field(description="The exchange's ID of the order.", examples=["1079490"])]
MarketName = Annotated[
    Literal["spot", "perp"] | None,
    Field(description="`spot` if the asset begins with `@` or contains `/`, else `perp`; null without an asset."),
]
AveragePrice = Annotated[
    str | None,
    Field(
        pattern=r"^-?\d+(\.\d+)?$",
        description="notional_executed / size_executed, rounded to ten significant digits; null if nothing executed.",
        examples=["0.003612"],
    ),
]
DurationMinutes = Annotated[int | None, Field(description="Planned duration in minutes.", examples=[5])]
ReconciliationState = Literal[
    "reconciled",
    "running",
    "fills_not_loaded",
    "missing_fills",
    "surplus_fills",
    "different_notional",
    "unknown_totals",
    "no_order",
]
Raw = Annotated[
    Any,
    Field(
        description="The whole source row as JSON, byte for byte as stored. If it exceeds 1 MB:"
        ' `{"raw_payload_omitted": {"maximum_bytes": …, "sql": "…"}}`, with the statement that reads it.'
    ),
]
NextCursor = Annotated[
    str | None, Field(description="Value of `cursor` for the next page; null if this is the last page.")
]

Symbol = Annotated[
    str | None,
    Field(
        description="Readable name of the asset: `HYPE/USDC` for the spot pair `@107`, else the asset. Null if the"
        " names of the pair are not recorded.",
        examples=["HYPE/USDC"],
    ),
]
