"""The definitions of the code location for tests that run jobs or sensors: building them takes a tenth of a second."""

from datetime import date
from functools import cache

import dagster as dg

from twap_pipeline.definitions import build_definitions
from twap_pipeline.settings import load_settings

_READ_BY_RESOURCES = {"database_url", "source_url", "fills_url", "fills_prefixes", "home"}
"""Settings that do not shape the definitions: the resources read them when a run or a tick starts."""


def load_definitions() -> dg.Definitions:
    """Return the definitions for the current settings; equal settings share them."""
    settings = load_settings()
    dates = (settings.start_date, settings.end_date, settings.fills_start_date, settings.fills_end_date)
    has_fills = settings.resolved_fills_url is not None
    return _load_definitions(settings.model_dump_json(exclude=_READ_BY_RESOURCES), dates, has_fills=has_fills)


@cache
def _load_definitions(_settings: str, _dates: tuple[date | None, ...], *, has_fills: bool) -> dg.Definitions:
    return build_definitions(load_settings())
