"""Texts from data and errors, as Dagster's UI shows them."""


def shorten(text: str, characters_max: int) -> str:
    """Return the text, or its beginning with ``…`` if it is longer."""
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"
