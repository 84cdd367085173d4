"""A wallet's orders as parquet: times typed, decimals as text, since no decimal type of parquet holds every one."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from twap_pipeline.exports.rows import COLUMNS

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_GROUP_ROWS = 20_000
_MOMENT = pa.timestamp("us", "UTC")
_TYPES = {
    **dict.fromkeys(("started_at", "ended_at", "last_status_at"), _MOMENT),
    **dict.fromkeys(("is_underfilled", "reduce_only", "randomize"), pa.bool_()),
    **dict.fromkeys(("duration_minutes", "event_count"), pa.int32()),
}
_SCHEMA = pa.schema(
    [(name, _TYPES.get(name, pa.string())) for name in COLUMNS],
    metadata={"unavailable_metrics": "fees, closed profit, slices", "decimals": "exact, as text; coin units and USD"},
)


class _ChunkBuffer(io.RawIOBase):
    """A file that is only ever written ahead, and gives away what it has."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: "ReadableBuffer") -> int:
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


class OrdersParquetWriter:
    """The file; a row group is written as soon as it is full."""

    def __init__(self) -> None:
        self._sink = _ChunkBuffer()
        self._writer = pq.ParquetWriter(self._sink, _SCHEMA, compression="zstd")
        self._waiting: list[Sequence[Any]] = []

    def begin(self) -> bytes:
        """Return parquet's first bytes."""
        return self._drained()

    def rows(self, batch: Sequence[Sequence[Any]]) -> bytes:
        """Take some orders; return a row group when there are enough."""
        self._waiting.extend(batch)
        return self._flushed() if len(self._waiting) >= _GROUP_ROWS else b""

    def end(self) -> bytes:
        """Return the last row group, and the footer without which no reader accepts the file."""
        last = self._flushed()
        self._writer.close()
        return last + self._drained()

    def _flushed(self) -> bytes:
        if self._waiting:
            columns = zip(*self._waiting, strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA))
            self._waiting = []
        return self._drained()

    def _drained(self) -> bytes:
        """Return what was written since the last time, and forget it."""
        return self._sink.take()
