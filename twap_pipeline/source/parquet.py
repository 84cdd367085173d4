"""Reads a parquet object as polars DataFrames of at most 15,000 rows, and refuses malformed files.

An object is decoded in chunks. The chunks are combined into batches that are bounded by rows and bytes, so memory use
depends on the batch size, not on the object size. Physical encodings of parquet (dictionaries, binary text, wide
decimals, time zones) are converted here. The meaning of values belongs in ``domain``.
"""

from collections.abc import Iterator, Sequence
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twap_pipeline.domain.object_errors import object_errors
from twap_pipeline.domain.source_schema import ACCEPTED_TYPES, NESTED_STATE_COLUMN
from twap_pipeline.errors import ObjectInvalidError

BATCH_ROWS = 15_000
"""Maximum number of rows per batch."""

BATCH_BYTES = 64 * 1024 * 1024
"""Maximum decoded size of a batch of more than one row."""

CELL_MAX_BYTES = 2 * 1024 * 1024
"""Maximum size of a decoded value. The longest real values are error messages of some hundred bytes."""

ROW_MAX_BYTES = 4 * 1024 * 1024
"""Maximum decoded size of a row, which bounds ``raw_payload``: the API returns it whole, a thousand rows per page."""

_CHUNK_ROWS = 1_000
_BOMB_ROWS = 1_000_000
_READ_COLUMNS = frozenset({*ACCEPTED_TYPES, NESTED_STATE_COLUMN})
_BOMB_ROWS_PER_BYTE = 1.0
"""A real row has a unique id and time, which take tens of bytes. More rows than bytes are not a real object."""


class ParquetObject:
    """Schema and rows of one object; the file is seekable.

    Raises:
        ObjectInvalidError: The bytes are not parquet, or the footer declares more rows than the bytes can contain.
    """

    def __init__(self, key: str, file: IO[bytes], size_bytes: int) -> None:
        self.key = key
        with object_errors(key, f"is not a readable parquet file ({size_bytes} bytes)"):
            # INT96 is read in µs: in ns, years after 2262 would become times of this century.
            self._file = pq.ParquetFile(file, pre_buffer=False, coerce_int96_timestamp_unit="us")
            self.arrow_schema: pa.Schema = self._file.schema_arrow
            self.schema = [(field.name, _dtype(field.name, field.type)) for field in self.arrow_schema]
            """Name and type of each column of `batches`, in the object's order, repeated names included."""
        self.lost_columns: dict[str, str] = {}
        """Name of an unknown column with values that could not be read, which are null → the reason."""
        self.num_rows = self._file.metadata.num_rows
        if self.num_rows > _BOMB_ROWS and self.num_rows > size_bytes * _BOMB_ROWS_PER_BYTE:
            reason = f"declares {self.num_rows} rows in {size_bytes} bytes: refused as a decompression bomb"
            raise ObjectInvalidError(key, reason)
        self._check_footer()

    def _check_footer(self) -> None:
        """Refuse rows that are too large before they are decoded: the average of a row group is at most the maximum.

        The sizes of the single columns are not read: pyarrow ends the process if their metadata are malformed.

        Raises:
            ObjectInvalidError: A row group contains a row that is too large.
        """
        metadata = self._file.metadata
        for group in (metadata.row_group(index) for index in range(metadata.num_row_groups)):
            rows = max(group.num_rows, 1)
            if group.total_byte_size > rows * ROW_MAX_BYTES:
                reason = f"{group.total_byte_size} bytes in {rows} rows, so a row exceeds {ROW_MAX_BYTES} bytes"
                raise ObjectInvalidError(self.key, reason)

    def _check_chunk(self, chunk: pa.RecordBatch, first_row: int) -> None:
        """Raise ObjectInvalidError if a decoded value or row is too large."""
        if _decoded_bytes(chunk) <= CELL_MAX_BYTES:
            return
        for index in range(chunk.num_rows):
            row = chunk.slice(index, 1)
            sizes = {name: _decoded_bytes(row.select([name])) for name in row.schema.names}
            name, largest = max(sizes.items(), key=lambda size: size[1])
            if largest > CELL_MAX_BYTES or sum(sizes.values()) > ROW_MAX_BYTES:
                raise ObjectInvalidError(
                    self.key,
                    f"column {name!r}, row {first_row + index}: the value has {largest} bytes and the row"
                    f" {sum(sizes.values())}; the maximum is {CELL_MAX_BYTES} per value and {ROW_MAX_BYTES} per row",
                )

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS, max_bytes: int = BATCH_BYTES
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows in order: of these top-level columns, or of all if ``columns`` is None.

        A batch has at most ``rows`` rows, and a decoded size of at most ``max_bytes`` if it has more than one row.

        Raises:
            ObjectInvalidError: A page cannot be decoded, text is not UTF-8, or rows are missing.
        """
        pending: list[pa.RecordBatch] = []
        rows_read = pending_rows = pending_bytes = 0
        for chunk, size_bytes in self._chunks(columns, min(rows, _CHUNK_ROWS), max_bytes):
            rows_read += chunk.num_rows
            if pending and (pending_rows + chunk.num_rows > rows or pending_bytes + size_bytes > max_bytes):
                yield self._frame(pending)
                pending, pending_rows, pending_bytes = [], 0, 0
            pending.append(chunk)
            pending_rows, pending_bytes = pending_rows + chunk.num_rows, pending_bytes + size_bytes
        if rows_read != self.num_rows:
            raise ObjectInvalidError(self.key, f"contains {rows_read} rows, but its footer declares {self.num_rows}")
        if pending:
            yield self._frame(pending)

    def _chunks(self, columns: Sequence[str] | None, rows: int, max_bytes: int) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Yield chunks of at most so many rows and bytes, but of at least one row, each with its decoded size."""
        names = None if columns is None else list(columns)
        chunks = self._file.iter_batches(batch_size=rows, columns=names, use_threads=False)
        first_row = 0
        while True:
            with object_errors(self.key, "cannot be decoded"):
                chunk = next(chunks, None)
                if chunk is None:
                    return
                self._check_chunk(chunk, first_row)
                size_bytes = _decoded_bytes(chunk)
            first_row += chunk.num_rows
            part_rows = max(1, chunk.num_rows * max_bytes // max(size_bytes, max_bytes))
            for start in range(0, chunk.num_rows, part_rows):
                part = chunk.slice(start, part_rows)
                yield part, size_bytes * part.num_rows // chunk.num_rows

    def _frame(self, chunks: Sequence[pa.RecordBatch]) -> pl.DataFrame:
        table = pa.Table.from_batches(chunks)
        return pl.DataFrame({name: self._column(table, name) for name in table.column_names})

    def _column(self, table: pa.Table, name: str) -> pl.Series:
        column = table.column(name)
        try:
            with object_errors(self.key, f"column {name!r} cannot be read without loss"):
                return _series(_plain(name, column))
        except ObjectInvalidError as error:
            if name in _READ_COLUMNS:
                raise
            self.lost_columns.setdefault(name, error.reason.removeprefix(f"column {name!r} "))
            return pl.Series([None], dtype=dict(self.schema)[name]).new_from_index(0, len(column))


def _decoded_bytes(chunk: pa.RecordBatch) -> int:
    """Return the size of a chunk in bytes, with its dictionaries decoded."""
    size = chunk.nbytes
    for column in chunk.columns:
        if isinstance(column, pa.DictionaryArray) and pa.types.is_string(column.type.value_type):
            lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
            size += pc.sum(lengths).as_py() or 0
    return int(size)


def _plain(name: str, column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return a column without physical encodings, in types that polars reads without loss."""
    if _is_plain(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            pass  # text that is not UTF-8, which only the conversion can keep
        else:
            return column
    return _convert(name, pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type))


def _is_plain(kind: pa.DataType) -> bool:
    number_types = (pa.types.is_integer, pa.types.is_float32, pa.types.is_float64)
    other_types = (pa.types.is_boolean, pa.types.is_null)
    return _is_text(kind) or any(is_type(kind) for is_type in (*number_types, *other_types))


def _convert(name: str, array: pa.Array) -> pa.Array:
    """Return an array in types that polars reads without loss, with the types of nested values converted as well.

    The array has offset 0. Only in columns that the pipeline does not read, bytes that are not UTF-8 become hex.

    Raises:
        pa.ArrowInvalid: Text is not UTF-8, in a column that the pipeline reads.
    """
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _convert(name, array.storage)
    if pa.types.is_dictionary(kind):
        return _convert(name, array.dictionary_decode())
    if pa.types.is_struct(kind):
        fields = [_convert(_field_name(name, kind[i].name), array.field(i)) for i in range(kind.num_fields)]
        names = [field.name for field in kind]
        return pa.StructArray.from_arrays(fields, names, mask=array.is_null()) if names else array
    if pa.types.is_map(kind):
        keys = pc.cast(_convert(name, array.keys), pa.string())
        return pa.MapArray.from_arrays(array.offsets, keys, _convert(name, array.items), mask=array.is_null())
    if pa.types.is_nested(kind):
        lengths = pc.cast(pc.fill_null(pc.list_value_length(array), 0), pa.int64())
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
        return pa.LargeListArray.from_arrays(offsets, _convert(name, array.flatten()), mask=array.is_null())
    return _convert_leaf(name, array)


def _convert_leaf(name: str, array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pc.cast(array, pa.timestamp(kind.unit, "UTC"))
    if pa.types.is_duration(kind) and kind.unit == "s":
        return pc.cast(array, pa.int64())  # polars multiplies by 1,000, which can overflow
    if pa.types.is_float16(kind):
        return pc.cast(array, pa.float32())
    if pa.types.is_decimal256(kind):
        return pc.cast(array, pa.string())
    return _convert_text(name, array) if _is_text(kind) or _is_bytes(kind) else array


def _field_name(name: str, field: str) -> str:
    """Return the name under which a field of a struct is mapped: a field of ``state`` is a column of its own."""
    return f"{name}_{field}" if name == NESTED_STATE_COLUMN else name


def _is_text(kind: pa.DataType) -> bool:
    return any(is_type(kind) for is_type in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_bytes(kind: pa.DataType) -> bool:
    predicates = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(predicate(kind) for predicate in predicates)


def _convert_text(name: str, array: pa.Array) -> pa.Array:
    data = pc.cast(array, pa.large_binary())
    try:
        return pc.cast(data, pa.large_string())
    except pa.ArrowInvalid:
        if name in _READ_COLUMNS:
            raise
        return pa.array([value and value.hex() for value in data.to_pylist()], pa.large_string())


def _dtype(name: str, kind: pa.DataType) -> pl.DataType:
    """Return the type of a column of `ParquetObject.batches`."""
    try:
        return _series(_plain(name, pa.chunked_array([pa.nulls(0, kind)]))).dtype
    except (Exception, pl.exceptions.PanicException):  # a type that cannot be read, which must not refuse the object
        if name in _READ_COLUMNS:
            raise
        return pl.Null()


def _series(array: pa.Array | pa.ChunkedArray) -> pl.Series:
    series = pl.from_arrow(array)
    if not isinstance(series, pl.Series):
        raise TypeError(f"pl.from_arrow returned {type(series).__name__}, not Series")
    return series
