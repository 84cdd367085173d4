"""One object's bytes → normalized batches, each made while the one before it is written."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, TypeVar

import polars as pl

from twap_pipeline.domain.normalize import NormalizedBatch, flatten, normalize
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.source_schema import CREATION_TIME, NESTED_STATE_COLUMN, flat_schema, map_columns
from twap_pipeline.domain.timestamps import EventTimeRange, count_matches_by_unit, infer_unit, to_epoch
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.source.parquet import BATCH_ROWS, ParquetObject

PREVIEW_ROWS = 5
"""Rows of an object kept for people to look at."""

_HOUR = 3_600_000_000  # microseconds
_T = TypeVar("_T")


@dataclass(slots=True)
class ObjectPreview:
    """What a person sees of an object's rows.

    Args:
        rows: Some canonical rows.
        by_hour: Events by hour of the day (UTC).
        by_status: Events by status.
    """

    rows: pl.DataFrame | None = None
    by_hour: Counter[int] = field(default_factory=Counter)
    by_status: Counter[str] = field(default_factory=Counter)

    def take(self, rows: pl.DataFrame) -> None:
        """Take note of a batch's canonical rows."""
        if self.rows is None:
            # Built anew: a slice would keep the whole batch in memory for as long as the preview is kept.
            self.rows = pl.DataFrame(rows.head(PREVIEW_ROWS).rows(), rows.schema, orient="row")
        self.by_hour.update(dict((rows["ts"].to_physical() // _HOUR % 24).value_counts().iter_rows()))
        for status, count in rows["status"].value_counts().iter_rows():
            self.by_status["NULL" if status is None else status] += count


class ObjectReader:
    """One object, opened: its columns mapped and its times' units decided; its rows can be read more than once.

    Args:
        ref: The object.
        file: Its bytes, seekable.

    Raises:
        ObjectInvalidError: It cannot be read without loss.
    """

    def __init__(self, ref: ObjectRef, file: IO[bytes]) -> None:
        self.ref = ref
        self.data_warnings: Counter[str] = Counter()
        self.preview = ObjectPreview()
        self._object = ParquetObject(ref.key, file, ref.size_bytes)
        self._schema = flat_schema(ref.key, self._object.schema)
        self._mapping = map_columns(ref.key, self._schema)
        self._window = EventTimeRange.before(ref.last_modified)
        self._whole = self._whole_if_small()
        self._units = self._decide_units()

    @property
    def is_small(self) -> bool:
        """Whether all rows fit into one batch; it is kept, so that they are decoded once."""
        return self._whole is not None

    def batches(self) -> Iterator[NormalizedBatch]:
        """Yield normalized batches."""
        self.data_warnings.clear()
        self.preview = ObjectPreview()
        first_row = 0
        for raw in self._object.batches() if self._whole is None else [self._whole]:
            batch = self._normalized(raw, first_row)
            self.data_warnings.update(batch.data_warnings)
            self.preview.take(batch.rows)
            first_row += raw.height
            yield batch

    def _normalized(self, raw: pl.DataFrame, first_row: int) -> NormalizedBatch:
        """Normalize; what polars cannot compute is this object's failure, and a panic of its must not end the run."""
        try:
            return normalize(raw, self._mapping, self._units, self._window, first_row)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            reason = f"rows {first_row} to {first_row + raw.height - 1} cannot be computed: {error}"
            raise ObjectInvalidError(self.ref.key, reason) from error

    def _whole_if_small(self) -> pl.DataFrame | None:
        if self._object.num_rows > BATCH_ROWS:
            return None
        first = next(self._object.batches(), None)
        return first if first is not None and first.height == self._object.num_rows else None

    def _decide_units(self) -> dict[str, str | None]:
        """Read the columns of times alone, to know their units before the first row is written."""
        columns = self._mapping.time_columns
        physical = [name for name, _ in self._object.schema if name in columns or name == NESTED_STATE_COLUMN]
        batches = self._object.batches(physical) if self._whole is None else [self._whole]
        counts: dict[str, Counter[str]] = {name: Counter() for name in columns}
        present: Counter[str] = Counter()
        for raw in batches:
            frame = flatten(raw)
            for name in columns:
                numbers = to_epoch(frame[name])
                counts[name].update(count_matches_by_unit(numbers, self._window))
                present[name] += numbers.len() - numbers.null_count()
                if name == CREATION_TIME:
                    present[name] -= int((numbers == 0).sum())
        return {
            name: infer_unit(counts[name], values_present=present[name], key=self.ref.key, column=name)
            for name in columns
        }


def read_ahead(items: Iterable[_T]) -> Generator[_T, None, None]:
    """Yield the items while a thread makes the next one."""
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        coming = thread.submit(lambda: list(islice(source, 1)))
        while item := coming.result():
            coming = thread.submit(lambda: list(islice(source, 1)))
            yield item[0]
