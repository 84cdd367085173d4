"""Content of the sample: random and real events, assigned to objects, with edge cases, written and counted."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from twap_pipeline.sample.edge_cases import EDGE_CASES, columns_null, error_prefix, status_struct
from twap_pipeline.sample.events import order_events
from twap_pipeline.sample.files import write_parquet
from twap_pipeline.sample.layout import FIRST_DAY, Calendar, SampleObject, assign_to_objects
from twap_pipeline.sample.manifest import SampleRequest, SampleSummary
from twap_pipeline.sample.orders import TERMINAL_STATUS_SHARES, draw_orders
from twap_pipeline.sample.real_orders import real_events

FIRST_TWAP_ID = 1_050_000
REPUBLISHED_ROWS = 25
"""Rows of one hour that are repeated in an object written six hours later."""

_NULL_COLUMNS_SINCE = "hourly/2026/08"
_MICROSECOND_TEXT = len("2025-08-17T00:00:00.000000")


def write_dataset(directory: Path, request: SampleRequest) -> SampleSummary:
    """Write the objects below the directory and return their counts; equal requests give equal files."""
    rng = np.random.default_rng(request.seed)
    calendar, lead = Calendar(request.days), timedelta(days=1)
    days = request.days + lead.days
    count = request.orders_per_day * days
    orders = draw_orders(rng, start=FIRST_DAY - lead, days=days, count=count, first_twap_id=FIRST_TWAP_ID)
    random, real = calendar.remove_gaps(order_events(orders)), real_events()
    objects = [
        *_add_edge_cases(assign_to_objects(random, calendar), calendar),
        SampleObject(calendar.empty_hours[0], random.clear(), edge_case="rows_none"),
        *map(_with_null_columns, assign_to_objects(real, calendar)),
    ]
    delays = rng.integers(2 * 60, 20 * 60, len(objects))
    written = [
        replace(item, delay=item.delay + timedelta(seconds=int(delay)))
        for item, delay in zip(objects, delays, strict=True)
    ]
    written.sort(key=lambda item: item.key)
    for item in written:
        write_parquet(directory / item.key, item.rows, item.written_at)
    return _summarize(written, pl.concat([random, real]))


def _summarize(objects: Sequence[SampleObject], events: pl.DataFrame) -> SampleSummary:
    """Return the counts; ``events`` are all rows that are events, without repetitions, in their usual form."""
    ended = pl.col("status").is_in([*TERMINAL_STATUS_SHARES, "stopped"]) | pl.col("status").str.starts_with("{")
    keys = events.select("twap_id", pl.col("time").str.slice(0, _MICROSECOND_TEXT)).n_unique()
    return SampleSummary(
        objects=len(objects),
        rows=sum(item.rows.height for item in objects),
        orders=events["twap_id"].n_unique(),
        orders_ended=events.filter(ended)["twap_id"].n_unique(),
        events=events.height,
        rows_superseded=events.height - keys,
        rows_republished=sum(item.rows.height for item in objects if item.edge_case == "rows_republished"),
        rows_quarantined=sum(edge_case.rows_quarantined for edge_case in EDGE_CASES),
        rows_metadata=sum(edge_case.rows_metadata for edge_case in EDGE_CASES),
        edge_cases={item.edge_case: item.key for item in reversed(objects) if item.edge_case},
    )


def _add_edge_cases(objects: list[SampleObject], calendar: Calendar) -> list[SampleObject]:
    """Return the objects with edge cases applied, and two more: one of republished rows, one of error rows only."""
    ordinary = [item for item in objects if item.is_hourly and item.period not in calendar.split_hours]
    is_error = pl.col("status").str.starts_with("{")
    mixed = max(ordinary, key=lambda item: item.rows.filter(is_error).height)
    ordinary.remove(mixed)
    count = len(EDGE_CASES) + 1
    *changed, republished = (ordinary[index * len(ordinary) // count] for index in range(count))
    by_period = {
        item.period: replace(item, rows=edge_case.apply(item.rows), edge_case=edge_case.name)
        for item, edge_case in zip(changed, EDGE_CASES, strict=True)
    }
    by_period |= {
        item.period: replace(item, rows=error_prefix(item.rows), edge_case="error_prefix")
        for item in objects
        if not item.is_hourly
    }
    by_period[mixed.period] = replace(mixed, rows=mixed.rows.filter(~is_error))
    errors, repeated = status_struct(mixed.rows.filter(is_error)), republished.rows.tail(REPUBLISHED_ROWS)
    return [
        *(by_period.get(item.period, item) for item in objects),
        replace(mixed, rows=errors, part=1, edge_case="status_struct"),
        replace(republished, rows=repeated, part=1, edge_case="rows_republished", delay=timedelta(hours=6)),
    ]


def _with_null_columns(item: SampleObject) -> SampleObject:
    """Return the object; those since August 2026 have the columns of `columns_null`."""
    return replace(item, rows=columns_null(item.rows)) if item.key >= _NULL_COLUMNS_SINCE else item
