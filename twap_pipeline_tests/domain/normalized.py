"""Functions for the tests of `normalize`: its result for raw rows of the feed."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from twap_pipeline.domain.normalize import normalize
from twap_pipeline.domain.normalized_batch import NormalizedBatch
from twap_pipeline.domain.source_schema import flat_schema, map_columns
from twap_pipeline_tests.feed_factories import KEY, TIME_RANGE

UNITS: Mapping[str, str | None] = {"time": "ns", "block_time": "ns", "state_timestamp": "ms"}


def read(raw: pl.DataFrame, first_row: int = 0) -> NormalizedBatch:
    mapping = map_columns(KEY, flat_schema(KEY, list(raw.schema.items())))
    return normalize(raw, mapping, UNITS, TIME_RANGE, first_row)


def only_row(raw: pl.DataFrame) -> dict[str, Any]:
    normalized = read(raw)
    assert normalized.rejected.is_empty()
    return normalized.rows.row(0, named=True)


def reasons(raw: pl.DataFrame) -> list[str]:
    return read(raw).rejected["reason"].to_list()


def label(value: object) -> str:
    return str(value.dtype) if isinstance(value, pl.Series) else str(value)
