"""Reads a parquet object as polars DataFrames of at most 15,000 rows, and refuses malformed files.

An object is decoded in chunks. The chunks are combined into batches that are bounded by rows and bytes, so memory use
depends on the batch size, not on the object size. Physical encodings of parquet (dictionaries, binary text, wide
decimals, time zones) are converted here. The meaning of values belongs in ``domain``.
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
"""Maximum number of rows per batch."""

BATCH_BYTES = 64 * 1024 * 1024
"""Maximum decoded size of a batch of more than one chunk."""

_CHUNK_ROWS = 1_000
_BOMB_ROWS = 1_000_000
_BOMB_ROWS_PER_BYTE = 1.0
"""A real row has a unique id and time, which take tens of bytes. More rows than bytes are not a real object."""

_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, pl.exceptions.PolarsError)


class ParquetObject:
    """Schema and rows of one object.

    Args:
        key: The object's key, for error messages.
        file: The object's bytes, seekable.
        size_bytes: Length of ``file``.

    Raises:
        ObjectInvalidError: The bytes are not parquet, or the footer declares more rows than the bytes can contain.
    """

    def __init__(self, key: str, file: IO[bytes], size_bytes: int) -> None:
        self.key = key
        try:
            self._file = pq.ParquetFile(file, pre_buffer=False)
            self.arrow_schema: pa.Schema = self._file.schema_arrow
            self.schema = [(field.name, _dtype(_plain(field.name, field.type))) for field in self.arrow_schema]
            """Name and type of each column of `batches`, in the object's order, repeated names included."""
        except _UNREADABLE as error:
            raise ObjectInvalidError(key, f"is not a readable parquet file ({size_bytes} bytes): {error}") from error
        self.num_rows = self._file.metadata.num_rows
        if self.num_rows > _BOMB_ROWS and self.num_rows > size_bytes * _BOMB_ROWS_PER_BYTE:
            reason = f"declares {self.num_rows} rows in {size_bytes} bytes: refused as a decompression bomb"
            raise ObjectInvalidError(key, reason)

    def batches(self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Yield the rows in order.

        Args:
            columns: Only these top-level columns; all columns if None.
            rows: Maximum number of rows per batch.

        Raises:
            ObjectInvalidError: A page cannot be decoded, text is not UTF-8, or rows are missing.
        """
        pending: list[pa.RecordBatch] = []
        rows_read = pending_rows = pending_bytes = 0
        for chunk, size_bytes in self._chunks(columns, min(rows, _CHUNK_ROWS)):
            rows_read += chunk.num_rows
            if pending and (pending_rows + chunk.num_rows > rows or pending_bytes + size_bytes > BATCH_BYTES):
                yield self._frame(pending)
                pending, pending_rows, pending_bytes = [], 0, 0
            pending.append(chunk)
            pending_rows, pending_bytes = pending_rows + chunk.num_rows, pending_bytes + size_bytes
        if rows_read != self.num_rows:
            raise ObjectInvalidError(self.key, f"contains {rows_read} rows, but its footer declares {self.num_rows}")
        if pending:
            yield self._frame(pending)

    def _chunks(self, columns: Sequence[str] | None, rows: int) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Yield chunks of at most so many rows, each with its decoded size in bytes."""
        names = None if columns is None else list(columns)
        try:
            for chunk in self._file.iter_batches(batch_size=rows, columns=names, use_threads=False):
                yield chunk, _decoded_bytes(chunk)
        except _UNREADABLE as error:
            raise ObjectInvalidError(self.key, f"cannot be decoded: {error}") from error

    def _frame(self, chunks: Sequence[pa.RecordBatch]) -> pl.DataFrame:
        table = pa.Table.from_batches(chunks)
        return pl.DataFrame({name: self._column(table, name) for name in table.column_names})

    def _column(self, table: pa.Table, name: str) -> pl.Series:
        column = table.column(name)
        try:
            column.validate(full=True)
            is_plain = column.type == _plain(name, column.type)
            return _series(column if is_plain else _plain_array(name, column.combine_chunks()))
        except _UNREADABLE as error:
            raise ObjectInvalidError(self.key, f"column {name!r} cannot be read without loss: {error}") from error


def _decoded_bytes(chunk: pa.RecordBatch) -> int:
    """Return the size of a chunk in bytes, with its dictionaries decoded."""
    size = chunk.nbytes
    for column in chunk.columns:
        if isinstance(column, pa.DictionaryArray) and pa.types.is_string(column.type.value_type):
            lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
            size += pc.sum(lengths).as_py() or 0
    return int(size)


def _plain(name: str, kind: pa.DataType) -> pa.DataType:
    """Return the type to which a column is converted: without physical encodings; text for types without JSON form."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(name, kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _plain(name, kind.value_type)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain(f"{name}_{field.name}", field.type)) for field in kind])
    return pa.string() if _is_bytes(kind) or pa.types.is_decimal256(kind) or _lacks_json_form(kind) else kind


def _plain_array(name: str, array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    plain = _plain(name, array.type)
    if name not in ACCEPTED_TYPES and (_is_bytes(array.type) or _lacks_json_form(array.type)):
        return _unknown_as_text(array)
    return pc.cast(array, plain)


def _is_bytes(kind: pa.DataType) -> bool:
    predicates = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(predicate(kind) for predicate in predicates)


def _lacks_json_form(kind: pa.DataType) -> bool:
    """Return whether a list or map contains values that polars cannot encode as JSON."""
    is_list = pa.types.is_nested(kind) and not pa.types.is_struct(kind)
    return is_list and any(name in str(kind) for name in ("binary", "decimal256", "extension"))


def _unknown_as_text(array: pa.Array) -> pa.Array:
    """Return an unknown column as text for ``raw_payload``: bytes as UTF-8, or as hex if they are not UTF-8."""
    if _is_bytes(array.type):
        try:
            return pc.cast(pc.cast(array, pa.binary()), pa.string())
        except pa.ArrowInvalid:
            return pa.array([value and value.hex() for value in array.to_pylist()], pa.string())
    texts = [None if value is None else json.dumps(value, default=_json_default) for value in array.to_pylist()]
    return pa.array(texts, pa.string())


def _json_default(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


@lru_cache
def _dtype(kind: pa.DataType) -> pl.DataType:
    return _series(pa.nulls(0, kind)).dtype


def _series(array: pa.Array | pa.ChunkedArray) -> pl.Series:
    series = pl.from_arrow(array)
    if not isinstance(series, pl.Series):
        raise TypeError(f"pl.from_arrow returned {type(series).__name__}, not Series")
    return series
