"""Bytes of an object → raw frames, in bounded batches.

An object is decoded in small batches that are put together up to a number of rows and of bytes, so memory depends on
the batch and not on the object. Encodings of parquet (dictionaries, bytes for text, wide decimals, zones) end here;
what the values mean is ``domain``'s.
"""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twap_pipeline.domain.source_schema import ACCEPTED_TYPES
from twap_pipeline.errors import ObjectInvalidError

BATCH_ROWS = 15_000
"""Rows of a batch, at most."""

BATCH_BYTES = 64 * 1024 * 1024
"""Decoded bytes after which a batch is closed before it has its rows."""

_BATCH_ROWS = 1_000
_BOMB_ROWS = 1_000_000
_BOMB_ROWS_PER_BYTE = 1.0
"""A real row has an id and a time of its own and takes tens of bytes; more rows than bytes is no feed."""

_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, pl.exceptions.PolarsError)


class ParquetObject:
    """An object's schema and rows.

    Args:
        key: The object's key, for errors.
        file: Its bytes, seekable.
        size_bytes: Their length.

    Raises:
        ObjectInvalidError: It is no parquet, or claims more rows than such bytes can honestly hold.
    """

    def __init__(self, key: str, file: IO[bytes], size_bytes: int) -> None:
        self.key = key
        try:
            self._file = pq.ParquetFile(file, pre_buffer=False)
            self.arrow_schema: pa.Schema = self._file.schema_arrow
            self.schema = [(field.name, _dtype(_plain(field.name, field.type))) for field in self.arrow_schema]
            """Columns and the types that `batches` gives them, in the object's order, doubled ones included."""
        except _UNREADABLE as error:
            raise ObjectInvalidError(key, f"is no readable parquet file ({size_bytes} bytes): {error}") from error
        self.num_rows = self._file.metadata.num_rows
        if self.num_rows > _BOMB_ROWS and self.num_rows > size_bytes * _BOMB_ROWS_PER_BYTE:
            reason = f"claims {self.num_rows} rows in {size_bytes} bytes: refused as a decompression bomb"
            raise ObjectInvalidError(key, reason)

    def batches(self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Yield the rows in order.

        Args:
            columns: Only these top-level columns.
            rows: At most so many rows a frame.

        Raises:
            ObjectInvalidError: A page cannot be decoded, text is not UTF-8, or rows are missing.
        """
        held: list[pa.RecordBatch] = []
        given = held_rows = held_bytes = 0
        for batch, size_bytes in self._batches(columns, min(rows, _BATCH_ROWS)):
            given += batch.num_rows
            if held and (held_rows + batch.num_rows > rows or held_bytes + size_bytes > BATCH_BYTES):
                yield self._frame(held)
                held, held_rows, held_bytes = [], 0, 0
            held.append(batch)
            held_rows, held_bytes = held_rows + batch.num_rows, held_bytes + size_bytes
        if given != self.num_rows:
            raise ObjectInvalidError(self.key, f"holds {given} rows, but says that it has {self.num_rows}")
        if held:
            yield self._frame(held)

    def _batches(self, columns: Sequence[str] | None, rows: int) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Yield small batches, each with its decoded bytes."""
        names = None if columns is None else list(columns)
        try:
            for batch in self._file.iter_batches(batch_size=rows, columns=names, use_threads=False):
                yield batch, _decoded_bytes(batch)
        except _UNREADABLE as error:
            raise ObjectInvalidError(self.key, f"cannot be decoded: {error}") from error

    def _frame(self, batches: Sequence[pa.RecordBatch]) -> pl.DataFrame:
        table = pa.Table.from_batches(batches)
        return pl.DataFrame({name: self._column(table, name) for name in table.column_names})

    def _column(self, table: pa.Table, name: str) -> pl.Series:
        column = table.column(name)
        try:
            column.validate(full=True)
            is_plain = column.type == _plain(name, column.type)
            return _series(column if is_plain else _plain_array(name, column.combine_chunks()))
        except _UNREADABLE as error:
            raise ObjectInvalidError(self.key, f"column {name!r} cannot be read without loss: {error}") from error


def _decoded_bytes(batch: pa.RecordBatch) -> int:
    """Return the size of a batch once its dictionaries are unfolded."""
    size = batch.nbytes
    for column in batch.columns:
        if isinstance(column, pa.DictionaryArray) and pa.types.is_string(column.type.value_type):
            lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
            size += pc.sum(lengths).as_py() or 0
    return int(size)


def _plain(name: str, kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is given: without parquet's encodings, and what has no JSON word as text."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(name, kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _plain(name, kind.value_type)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain(f"{name}_{field.name}", field.type)) for field in kind])
    return pa.string() if _is_bytes(kind) or pa.types.is_decimal256(kind) or _has_no_json(kind) else kind


def _plain_array(name: str, array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    plain = _plain(name, array.type)
    if name not in ACCEPTED_TYPES and (_is_bytes(array.type) or _has_no_json(array.type)):
        return _unknown_as_text(array)
    return pc.cast(array, plain)


def _is_bytes(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(test(kind) for test in kinds)


def _has_no_json(kind: pa.DataType) -> bool:
    """Whether a list or map holds what polars cannot write as JSON."""
    inner = pa.types.is_nested(kind) and not pa.types.is_struct(kind)
    return inner and any(word in str(kind) for word in ("binary", "decimal256", "extension"))


def _unknown_as_text(array: pa.Array) -> pa.Array:
    """Return the values of a column that nothing reads as text for the payload: bytes as UTF-8, else in hex."""
    if _is_bytes(array.type):
        try:
            return pc.cast(pc.cast(array, pa.binary()), pa.string())
        except pa.ArrowInvalid:
            return pa.array([value and value.hex() for value in array.to_pylist()], pa.string())
    texts = [None if value is None else json.dumps(value, default=_word) for value in array.to_pylist()]
    return pa.array(texts, pa.string())


def _word(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


@lru_cache
def _dtype(kind: pa.DataType) -> pl.DataType:
    return _series(pa.nulls(0, kind)).dtype


def _series(array: pa.Array | pa.ChunkedArray) -> pl.Series:
    series = pl.from_arrow(array)
    if not isinstance(series, pl.Series):
        raise TypeError(f"an Arrow array became {type(series).__name__}")
    return series
