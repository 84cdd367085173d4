"""Writes exports as parquet: times as timestamps, decimals as text, because no parquet type holds every decimal."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_ROW_GROUP_ROWS = 20_000
_TIMESTAMP = pa.timestamp("us", "UTC")
_TYPES = {
    **dict.fromkeys(("started_at", "ended_at", "last_status_at", "ts"), _TIMESTAMP),
    **dict.fromkeys(("is_underfilled", "reduce_only", "randomize", "is_taker"), pa.bool_()),
    **dict.fromkeys(("duration_minutes", "event_count"), pa.int32()),
}
"""Types of the columns that are not text."""


class _ChunkBuffer(io.RawIOBase):
    """A buffer that pyarrow writes into; each call takes out the bytes that were written since the last one."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: "ReadableBuffer") -> int:
        chunk = bytes(data)
        self._chunks.append(chunk)
        self._position += len(chunk)
        return len(chunk)

    def drain(self) -> bytes:
        """Return the bytes written since the last call."""
        content, self._chunks = b"".join(self._chunks), []
        return content


class ParquetWriter:
    """Writes a parquet file, one row group as soon as it is full; implements `formats.Writer`."""

    def __init__(self, columns: Sequence[str], metadata: Mapping[str, str]) -> None:
        self._schema = pa.schema([(name, _TYPES.get(name, pa.string())) for name in columns], metadata=dict(metadata))
        self._buffer = _ChunkBuffer()
        self._writer = pq.ParquetWriter(self._buffer, self._schema, compression="zstd")
        self._pending_rows: list[Sequence[Any]] = []

    def begin(self) -> bytes:
        """Return the file's magic bytes."""
        return self._buffer.drain()

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Buffer a batch; return a row group if enough rows are buffered."""
        self._pending_rows.extend(batch)
        if len(self._pending_rows) >= _ROW_GROUP_ROWS:
            self._write_row_group()
        return self._buffer.drain()

    def end(self) -> bytes:
        """Return the last row group and the footer; a file without the footer is not readable."""
        if self._pending_rows:
            self._write_row_group()
        self._writer.close()
        return self._buffer.drain()

    def _write_row_group(self) -> None:
        columns = zip(*self._pending_rows, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._pending_rows = []
