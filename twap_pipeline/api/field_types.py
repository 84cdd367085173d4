"""The kinds of values in the API's bodies, each described once: what it looks like, and what it means."""

from typing import Annotated, Any

from pydantic import Field

Decimal = Annotated[
    str,
    Field(
        pattern=r"^-?\d+(\.\d+)?$",
        description="Exact decimal as a string, never with an exponent.",
        examples=["69.19637"],
    ),
]
Moment = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$",
        description="RFC 3339, UTC, microseconds.",
        examples=["2025-08-26T15:25:54.579723Z"],
    ),
]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="UTC day.", examples=["2025-08-26"])]
Side = Annotated[str | None, Field(description="B = buy, A = sell (ask).", examples=["B"])]
Status = Annotated[
    str | None,
    Field(
        description="activated, waitingForTrigger, finished, terminated, error, stopped, or a newer word, verbatim."
        " A finished order may be under-filled, a terminated or errored one may have executed something: look at the"
        " sizes.",
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
WalletText = Annotated[
    str,
    Field(
        pattern="^0x[0-9a-f]{40}$",
        description="Lower case.",
        examples=["0x6fa44c6d0584c9f27551533482b256a102194330"],
    ),
]
Minutes = Annotated[int | None, Field(description="Duration as ordered, minutes.", examples=[5])]
Raw = Annotated[Any, Field(description="The whole source row as JSON, byte for byte as it was stored.")]
