"""Content of the sample: random events, assigned to objects, with edge cases, written."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from twap_pipeline.sample.edge_cases import EDGE_CASES, error_prefix, status_struct
from twap_pipeline.sample.events import order_events
from twap_pipeline.sample.files import write_parquet
from twap_pipeline.sample.fill_files import assign_to_files
from twap_pipeline.sample.fills import add_faults, add_positions, draw_fills
from twap_pipeline.sample.layout import Calendar, SampleObject, assign_to_objects
from twap_pipeline.sample.manifest import FILLS, STATUSES, WRITE_DELAY_MAX, SampleRequest, SampleSummary
from twap_pipeline.sample.orders import draw_orders

FIRST_TWAP_ID = 1_050_000
REPUBLISHED_ROWS = 25
"""Rows of one hour that are repeated in an object written six hours later."""

_FILLS_SEED = 19
"""Second part of the seed of the fills: the statuses do not depend on how many numbers the fills draw."""

_LEAD_DAYS = 1
"""Days before the first day in which orders are created that end in the sample."""

_WRITE_DELAY_MIN = timedelta(minutes=2)


def write_dataset(directory: Path, request: SampleRequest) -> SampleSummary:
    """Write the objects below the sample's directory; equal requests give equal files.

    Requests that differ by whole days in ``until`` give the same sample, shifted by these days: keys, times, block
    numbers and file times. Of two requests for the same days, the later one gives all objects of the earlier one and
    those of the hours in between, and all fills of the earlier one.
    """
    rng = np.random.default_rng(request.seed)
    calendar = Calendar(datetime.combine(request.first_date, time(), UTC), request.days)
    days = _LEAD_DAYS + request.days
    start, count = calendar.first_day - timedelta(days=_LEAD_DAYS), request.orders_per_day * days
    orders = draw_orders(rng, start=start, days=days, count=count, first_twap_id=FIRST_TWAP_ID)
    fills = draw_fills(np.random.default_rng([request.seed, _FILLS_SEED]), orders, calendar.first_day)
    events = calendar.remove_gaps(order_events(_add_notionals(orders, fills)))
    fills = add_positions(fills.filter(pl.col("twap_id").is_in(events["twap_id"].unique().implode())))
    fills = fills.filter(pl.col("time_ms") < int(request.until.timestamp()) * 1_000)
    fills, fill_faults = add_faults(fills, _finished_on_first_day(events, calendar))
    events = events.filter(pl.col("time") < f"{request.until:%Y-%m-%dT%H}")
    objects = [
        *_add_edge_cases(assign_to_objects(events, calendar), calendar),
        SampleObject(calendar.empty_hours[0], events.clear(), edge_case="rows_none"),
    ]
    objects.sort(key=lambda item: item.key)
    delays_seconds = rng.integers(_WRITE_DELAY_MIN.seconds, WRITE_DELAY_MAX.seconds, len(objects))
    for item, seconds in zip(objects, delays_seconds, strict=True):
        write_parquet(directory / STATUSES / item.key, item.rows, item.written_at + timedelta(seconds=int(seconds)))
    for file in assign_to_files(fills, request.until):
        write_parquet(directory / FILLS / file.key, file.rows, file.written_at)
    edge_cases = {item.edge_case: item.key for item in reversed(objects) if item.edge_case}
    return SampleSummary(edge_cases, fill_faults)


def _add_notionals(orders: pl.DataFrame, fills: pl.DataFrame) -> pl.DataFrame:
    """Return the orders with the executed notional of their fills; orders without fills keep the drawn notional."""
    filled = fills.group_by("twap_id").agg(pl.sum("notional_micros").alias("filled_micros"))
    notional = pl.coalesce("filled_micros", "notional_micros").alias("notional_micros")
    return orders.join(filled, on="twap_id", how="left", maintain_order="left").with_columns(notional)


def _finished_on_first_day(events: pl.DataFrame, calendar: Calendar) -> pl.Series:
    """Return the ids of the orders that are activated and finished on the first day."""
    first_day = events.filter(pl.col("time").str.starts_with(f"{calendar.first_day:%Y-%m-%d}"))
    activated, finished = (first_day.filter(pl.col("status") == name) for name in ("activated", "finished"))
    return finished.join(activated, on="twap_id", how="semi")["twap_id"]


def _add_edge_cases(objects: list[SampleObject], calendar: Calendar) -> list[SampleObject]:
    """Return the objects with edge cases applied, and two more: one of republished rows, one of error rows only."""
    unchanged = {*calendar.split_hours, *calendar.last_day_hours}
    ordinary = [item for item in objects if item.is_hourly and item.period not in unchanged]
    is_error = pl.col("status").str.starts_with("{")
    mixed = max(ordinary, key=lambda item: item.rows.filter(is_error).height)
    ordinary.remove(mixed)
    count = len(EDGE_CASES) + 1
    *changed, republished = (ordinary[index * len(ordinary) // count] for index in range(count))
    by_period = {
        item.period: replace(item, rows=apply(item.rows), edge_case=name)
        for item, (name, apply) in zip(changed, EDGE_CASES.items(), strict=True)
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
