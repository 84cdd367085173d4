"""Reads the bytes of one object as normalized batches.

Put here what is decided per object: column mapping and time units. Rules per row belong in `domain.normalize` for
statuses, and in `domain.fills` for fills.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from itertools import islice
from typing import IO, TypeVar

import polars as pl

from twap_pipeline.domain import fills, normalize, source_schema
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.domain.normalize import flatten
from twap_pipeline.domain.normalized_batch import WARNINGS_MAX, NormalizedBatch, Rejections, add_warnings
from twap_pipeline.domain.object_errors import object_errors
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.source_schema import CREATION_TIME, NESTED_STATE_COLUMN, ColumnMapping, flat_schema
from twap_pipeline.domain.timestamps import EventTimeRange, count_matches_by_unit, infer_unit, to_epoch
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.source.parquet import BATCH_BYTES, BATCH_ROWS, ParquetObject

MAX_REJECTED_SHARE = 0.5
"""Share of an object's events that may be rejected for one reason. More than that is a column in a form that this code
does not read: the object fails, so that its rows are loaded once the code reads the form."""

_T = TypeVar("_T")

_NORMALIZERS = {
    TWAP_STATUS.name: (source_schema, normalize),
    TWAP_FILLS.name: (fills, fills),
}
"""Name of a data set → the modules whose functions map the columns and normalize the rows of its objects."""


class ObjectReader:
    """An opened object, with its columns mapped and its time units inferred. Its rows can be read more than once.

    Args:
        ref: The object.
        file: Its bytes, seekable.
        batch_rows: Maximum number of rows per batch.
        batch_bytes: Maximum decoded size of a batch of more than one row.
        day: The UTC day of the object; None if only its LastModified bounds its event times.
        data_set: Data set of the object; it decides how the columns are read.

    Raises:
        ObjectInvalidError: The object cannot be read without loss.
    """

    def __init__(
        self,
        ref: ObjectRef,
        file: IO[bytes],
        batch_rows: int = BATCH_ROWS,
        batch_bytes: int = BATCH_BYTES,
        *,
        day: date | None = None,
        data_set: DataSet = TWAP_STATUS,
    ) -> None:
        self.ref = ref
        self.data_set = data_set
        columns, rows = _NORMALIZERS[data_set.name]
        self._normalize_rows: Callable[..., NormalizedBatch] = rows.normalize
        self._batch_rows = batch_rows
        self._batch_bytes = batch_bytes
        self.data_warnings: Counter[str] = Counter()
        self.last_event_at: datetime | None = None
        with object_errors(ref.key, "cannot be read"):
            self._object = ParquetObject(ref.key, file, ref.size_bytes)
            self._schema = flat_schema(ref.key, self._object.schema)
            self._mapping: ColumnMapping = columns.map_columns(ref.key, self._schema)
            self._time_range = EventTimeRange.before(ref.last_modified, day)
            self._only_batch = self._read_if_small()
            self._units = self._infer_units()

    @property
    def is_small(self) -> bool:
        """Whether all rows fit into one batch. The reader keeps that batch, so it is decoded once."""
        return self._only_batch is not None

    def batches(self) -> Iterator[NormalizedBatch]:
        """Yield normalized batches from the start; set ``data_warnings`` and ``last_event_at`` again.

        Raises:
            ObjectInvalidError: A batch cannot be computed, or more than `MAX_REJECTED_SHARE` of the events are
                rejected for one reason. The latter is raised after the last batch.
        """
        self.data_warnings.clear()
        self.last_event_at = None
        rejections: dict[str, Rejections] = {}
        first_row = events = 0
        for raw in self._raw_batches():
            batch = self._normalize(raw, first_row)
            events += raw.height - batch.metadata_rows
            for reason, rejected in batch.rejections.items():
                rejections[reason] = rejections[reason].including(rejected) if reason in rejections else rejected
            first_row += raw.height
            latest = batch.rows["ts"].max()
            if isinstance(latest, datetime):  # None if the batch has no valid row
                self.last_event_at = max(latest, self.last_event_at or latest)
            yield batch
        for name, reason in islice(self._object.lost_columns.items(), WARNINGS_MAX):
            self.data_warnings[f"unknown column {name!r}: values are lost, because it {reason}"] = first_row
        for rejected in rejections.values():
            if rejected.rows > events * MAX_REJECTED_SHARE:
                raise ObjectInvalidError(
                    self.ref.key,
                    f"{rejected.rows} of {events} rows cannot be read for the same reason, the first one is row"
                    f" {rejected.first_row}: {rejected.example}; more than half of the rows: the column is probably in"
                    " a form that this version does not read",
                )

    def _normalize(self, raw: pl.DataFrame, first_row: int) -> NormalizedBatch:
        with object_errors(self.ref.key, f"rows {first_row} to {first_row + raw.height - 1} cannot be computed"):
            batch = self._normalize_rows(raw, self._mapping, self._units, self._time_range, first_row)
            add_warnings(self.data_warnings, batch.data_warnings)
        return batch

    def _raw_batches(self, columns: Sequence[str] | None = None) -> Iterable[pl.DataFrame]:
        if self._only_batch is not None:
            return [self._only_batch]
        return self._object.batches(columns, self._batch_rows, self._batch_bytes)

    def _read_if_small(self) -> pl.DataFrame | None:
        if self._object.num_rows > self._batch_rows:
            return None
        first = next(self._object.batches(rows=self._batch_rows, max_bytes=self._batch_bytes), None)
        return first if first is not None and first.height == self._object.num_rows else None

    def _infer_units(self) -> dict[str, str | None]:
        """Return time column → unit, inferred from these columns of all rows, before any row is written."""
        columns = self._mapping.time_columns
        physical = [name for name, _ in self._object.schema if name in columns or name == NESTED_STATE_COLUMN]
        counts: dict[str, Counter[str]] = {name: Counter() for name in columns}
        present: Counter[str] = Counter()
        for raw in self._raw_batches(physical):
            frame = flatten(raw)
            for name in columns:
                numbers = to_epoch(frame[name])
                counts[name].update(count_matches_by_unit(numbers, self._time_range))
                present[name] += numbers.len() - numbers.null_count()
                if name == CREATION_TIME:  # the feed writes 0 for an unknown creation time
                    present[name] -= int((numbers == 0).sum())
        return {
            name: infer_unit(
                counts[name],
                values_present=present[name],
                key=self.ref.key,
                column=name,
                time_range=self._time_range,
            )
            for name in columns
        }


def read_ahead(items: Iterable[_T]) -> Generator[_T, None, None]:
    """Yield the items; a thread computes the next item while the caller processes the current one."""
    iterator = iter(items)

    def next_item() -> list[_T]:
        return list(islice(iterator, 1))

    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        future = thread.submit(next_item)
        while item := future.result():
            future = thread.submit(next_item)
            yield item[0]
