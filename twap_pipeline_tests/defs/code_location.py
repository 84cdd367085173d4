"""The definitions of the code location for tests that run jobs or sensors: building them takes a tenth of a second."""

from datetime import date
from functools import cache

import dagster as dg

from twap_pipeline.definitions import build_definitions
from twap_pipeline.settings import load_settings

_READ_BY_RESOURCES = {"database_url", "source_url", "home"}
"""Settings that do not shape the definitions: the resources read them when a run or a tick starts."""


def load_definitions() -> dg.Definitions:
    """Return the definitions for the current settings; equal settings share them."""
    settings = load_settings()
    return _load_definitions(
        settings.model_dump_json(exclude=_READ_BY_RESOURCES), settings.start_date, settings.end_date
    )


@cache
def _load_definitions(_settings: str, _start: date, _end: date | None) -> dg.Definitions:
    return build_definitions(load_settings())
