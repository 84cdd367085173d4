"""The sample's objects, complete: random and real orders, laid out, odd where they shall be, and counted.

Here belongs what goes into the sample and what a reader must find in it. Nothing is written here: ``files`` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from twap_pipeline.sample.edge_cases import EDGE_CASES, columns_null, error_prefix, status_struct
from twap_pipeline.sample.events import order_events
from twap_pipeline.sample.layout import FIRST_DAY, Calendar, SampleObject, assign_to_objects
from twap_pipeline.sample.manifest import SampleSummary
from twap_pipeline.sample.orders import ENDINGS, draw_orders
from twap_pipeline.sample.real_orders import real_events

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from twap_pipeline.sample.manifest import SampleRequest

FIRST_TWAP_ID = 1_050_000
REPUBLISHED_ROWS = 25
"""Rows of one hour that come again in an object written six hours later."""

_COLUMNS_NULL_SINCE = "hourly/2026/08"
_MICROSECOND_TEXT = len("2025-08-17T00:00:00.000000")


@dataclass(frozen=True, slots=True)
class SampleDataset:
    """What goes into the sample.

    Args:
        objects: In the order of their periods.
        events: All rows that are events, each once, columns ``events.FEED_COLUMNS``.
        rows_republished: Rows of the objects that repeat an event.
    """

    objects: list[SampleObject]
    events: pl.DataFrame
    rows_republished: int

    def summarize(self, days: int, size_bytes: int) -> SampleSummary:
        """Return the counts of the contents, once written."""
        import polars as pl

        ended = pl.col("status").is_in(sorted({*ENDINGS, "stopped"})) | pl.col("status").str.starts_with("{")
        places = self.events.select("twap_id", pl.col("time").str.slice(0, _MICROSECOND_TEXT)).n_unique()
        return SampleSummary(
            days=days,
            objects=len(self.objects),
            rows=sum(each.rows.height for each in self.objects),
            orders=self.events["twap_id"].n_unique(),
            bytes=size_bytes,
            orders_ended=self.events.filter(ended)["twap_id"].n_unique(),
            events=self.events.height,
            rows_superseded=self.events.height - places,
            rows_republished=self.rows_republished,
            rows_quarantined=sum(edge_case.rows_quarantined for edge_case in EDGE_CASES),
            rows_metadata=sum(edge_case.rows_metadata for edge_case in EDGE_CASES),
            edge_cases={each.edge_case: each.key for each in reversed(self.objects) if each.edge_case},
        )


def draw_dataset(rng: np.random.Generator, request: SampleRequest) -> SampleDataset:
    """Return the sample's contents; equal for equal states of the generator and equal requests."""
    import polars as pl

    calendar, lead = Calendar(request.days), timedelta(days=1)
    days = request.days + lead.days
    count = request.orders_per_day * days
    orders = draw_orders(rng, start=FIRST_DAY - lead, days=days, count=count, first_twap_id=FIRST_TWAP_ID)
    events, real = calendar.keep(order_events(orders)), real_events()
    objects = [
        *_make_odd(assign_to_objects(events, calendar), calendar),
        SampleObject(calendar.empty_hours[0], events.clear(), edge_case="rows_none"),
        *map(_recent, assign_to_objects(real, calendar)),
    ]
    delays = rng.integers(2 * 60, 20 * 60, len(objects))
    written = [
        replace(each, delay=each.delay + timedelta(seconds=int(delay)))
        for each, delay in zip(objects, delays, strict=True)
    ]
    republished = sum(each.rows.height for each in objects if each.edge_case == "rows_republished")
    return SampleDataset(sorted(written, key=lambda each: each.key), pl.concat([events, real]), republished)


def _make_odd(objects: list[SampleObject], calendar: Calendar) -> list[SampleObject]:
    """Return the objects, some in an odd form, with one more of re-published rows and one more of errors alone."""
    import polars as pl

    ordinary = [each for each in objects if each.hourly and each.period not in calendar.split_hours]
    is_error = pl.col("status").str.starts_with("{")
    mixed = max(ordinary, key=lambda each: each.rows.filter(is_error).height)
    ordinary.remove(mixed)
    more = len(EDGE_CASES) + 1
    *hosts, host = (ordinary[place * len(ordinary) // more] for place in range(more))
    odd = {
        each.period: replace(each, rows=edge_case.apply(each.rows), edge_case=edge_case.name)
        for each, edge_case in zip(hosts, EDGE_CASES, strict=True)
    }
    odd |= {
        each.period: replace(each, rows=error_prefix(each.rows), edge_case="error_prefix")
        for each in objects
        if not each.hourly
    }
    odd[mixed.period] = replace(mixed, rows=mixed.rows.filter(~is_error))
    errors, again = status_struct(mixed.rows.filter(is_error)), host.rows.tail(REPUBLISHED_ROWS)
    return [
        *(odd.get(each.period, each) for each in objects),
        replace(mixed, rows=errors, part=1, edge_case="status_struct"),
        replace(host, rows=again, part=1, edge_case="rows_republished", delay=timedelta(hours=6)),
    ]


def _recent(each: SampleObject) -> SampleObject:
    return replace(each, rows=columns_null(each.rows)) if each.key >= _COLUMNS_NULL_SINCE else each
