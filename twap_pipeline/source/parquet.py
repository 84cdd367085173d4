"""Bytes of an object → raw frames, in bounded portions.

An object is read row group by row group in portions of a fixed number of rows, so memory depends on the portion and
not on the object. Encodings of parquet (dictionaries, bytes for text, wide decimals) end here; what the values mean is
``domain``'s.
"""

from collections.abc import Iterator, Sequence
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twap_pipeline.errors import ObjectInvalidError

PORTION_ROWS = 50_000
"""Rows decoded at a time."""

_BOMB_ROWS = 1_000_000
_BOMB_ROWS_PER_BYTE = 1.0
"""A real row has an id and a time of its own and takes tens of bytes; more rows than bytes is no feed."""


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
        except (pa.ArrowException, OSError) as error:
            raise ObjectInvalidError(key, f"is no readable parquet file ({size_bytes} bytes): {error}") from error
        self.num_rows = self._file.metadata.num_rows
        if self.num_rows > _BOMB_ROWS and self.num_rows > size_bytes * _BOMB_ROWS_PER_BYTE:
            reason = f"claims {self.num_rows} rows in {size_bytes} bytes: refused as a decompression bomb"
            raise ObjectInvalidError(key, reason)
        self.arrow_schema: pa.Schema = self._file.schema_arrow

    @property
    def schema(self) -> list[tuple[str, pl.DataType]]:
        """Columns and the types that `portions` gives them, in the object's order, doubles included."""
        return [(field.name, _series(pa.nulls(0, _plain(field.type))).dtype) for field in self.arrow_schema]

    def portions(self, columns: Sequence[str] | None = None, rows: int = PORTION_ROWS) -> Iterator[pl.DataFrame]:
        """Yield the rows in order.

        Args:
            columns: Only these top-level columns.
            rows: At most so many rows a frame.

        Raises:
            ObjectInvalidError: A page cannot be decoded, or text is not UTF-8.
        """
        batches = self._file.iter_batches(batch_size=rows, columns=None if columns is None else list(columns))
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise ObjectInvalidError(self.key, f"cannot be decoded: {error}") from error
            if batch is None:
                return
            yield pl.DataFrame([self._column(batch, name) for name in batch.schema.names])

    def _column(self, batch: pa.RecordBatch, name: str) -> pl.Series:
        array = batch.column(name)
        try:
            array.validate(full=True)
            plain = pc.cast(array, _plain(array.type)) if _plain(array.type) != array.type else array
        except (pa.ArrowException, OSError) as error:
            raise ObjectInvalidError(self.key, f"column {name!r} cannot be read without loss: {error}") from error
        return _series(plain).alias(name)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type without parquet's encodings: dictionaries unfolded, bytes as text, very wide decimals as text."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_decimal256(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain(field.type)) for field in kind])
    return kind


def _series(array: pa.Array) -> pl.Series:
    series = pl.from_arrow(array)
    if not isinstance(series, pl.Series):
        raise TypeError(f"an Arrow array became {type(series).__name__}")
    return series
