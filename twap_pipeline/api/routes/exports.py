"""A wallet's orders as files, streamed as they are read.

A file that breaks off is seen to break off: once its first bytes are out, a failure ends the connection before the end
of the response, and nobody takes the part for the whole. Before that it is an json_response like every other.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Send

from twap_pipeline.api.parameters import End, Start, WalletPath, require_start_before_end
from twap_pipeline.api.routes import V1
from twap_pipeline.api.state import state_of
from twap_pipeline.exports.formats import BATCH_ROWS, DISCLAIMER, FORMATS, ExportFormat
from twap_pipeline.exports.rows import wallet_orders

router = APIRouter(prefix=f"{V1}/wallets", tags=["exports"])


async def stream_export(
    engine: AsyncEngine, kind: ExportFormat, wallet: str, start: datetime | None, end: datetime | None
) -> AsyncGenerator[bytes, None]:
    """Yield a file in parts, rows read through a cursor; its memory does not grow with the file."""
    statement = wallet_orders(wallet, start, end, executed_only=kind.executed_only)
    writer = kind.writer()
    async with engine.execution_options(isolation_level="READ COMMITTED").connect() as connection:
        result = await connection.stream(statement, execution_options={"yield_per": BATCH_ROWS})
        waiting = writer.begin()
        async for batch in result.partitions():
            yield waiting + writer.rows(batch)
            waiting = b""
        yield waiting + writer.end()


class ExportResponse(StreamingResponse):
    """A response that is under way only when its first part is there, and gives back its connection in the end."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], media_type: str, name: str) -> None:
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Data-Limitations": DISCLAIMER}
        super().__init__(self._parts(first, rest), headers=headers, media_type=media_type)
        self._rest = rest

    async def stream_response(self, send: Send) -> None:
        """Send the parts; however it ends, close where they come from."""
        async with aclosing(self._rest):
            await super().stream_response(send)

    @staticmethod
    async def _parts(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield first
        async for part in rest:
            if part:
                yield part


async def _download(request: Request, name: str, wallet: str, start: datetime | None, end: datetime | None) -> Response:
    require_start_before_end(start, end)
    kind = FORMATS[name]
    parts = stream_export(state_of(request).engines["exports"], kind, wallet, start, end)
    first = await anext(parts)
    return ExportResponse(first, parts, kind.media_type, f"twap-orders-{wallet}.{kind.extension}")


def _file(name: str) -> dict[int | str, dict[str, object]]:
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": "The file.", "content": {FORMATS[name].media_type: {"schema": schema}}}}


@router.get("/{wallet}/export.csv", response_class=Response, responses=_file("csv"))
async def export_csv(request: Request, wallet: WalletPath, start: Start = None, end: End = None) -> Response:
    """A wallet's orders as CSV, a row an order, oldest first. The range is on each order's last event.

    Text that a spreadsheet would run as a formula has an apostrophe before it. Fees, closed profit and slices are not
    in this feed. A download that ends without its last chunk has failed: start it anew.
    """
    return await _download(request, "csv", wallet, start, end)


@router.get("/{wallet}/export.parquet", response_class=Response, responses=_file("parquet"))
async def export_parquet(request: Request, wallet: WalletPath, start: Start = None, end: End = None) -> Response:
    """The same as parquet: times typed, decimals as exact text."""
    return await _download(request, "parquet", wallet, start, end)
