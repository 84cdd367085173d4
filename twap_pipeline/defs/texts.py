"""Texts from data and errors, as Dagster's UI shows them."""

from twap_pipeline.domain.data_set import TWAP_STATUS


def shorten(text: str, characters_max: int) -> str:
    """Return the text, or its beginning with ``…`` if it is longer."""
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"


def data_set_option(name: str) -> str:
    """Return the option that selects a data set in a command, with a space before it; nothing for the default."""
    return "" if name == TWAP_STATUS.name else f" --data-set {name}"
