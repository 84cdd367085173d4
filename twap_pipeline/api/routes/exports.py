"""The routes that stream a wallet's orders as a file.

A failure before the first byte is an error response. After the first byte, a failure closes the connection before the
end of the response, so clients detect that the file is incomplete.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Message, Send

from twap_pipeline.api.logs import LOGGER
from twap_pipeline.api.parameters import End, Start, WalletPath, require_start_before_end
from twap_pipeline.api.routes import V1
from twap_pipeline.api.state import state_of
from twap_pipeline.exports.formats import BATCH_ROWS, DISCLAIMER, FORMATS, ExportFormat
from twap_pipeline.exports.rows import wallet_orders

router = APIRouter(prefix=f"{V1}/wallets", tags=["exports"])


SEND_TIMEOUT_SECONDS = 20.0
"""How long a client may take to read one chunk of an export, which has `BATCH_ROWS` rows (about 0.5 MB of CSV)."""

_log = logging.getLogger(LOGGER)


def _with_timeout(send: Send) -> Send:
    """Return a function that sends a message, or raises TimeoutError if the client does not read fast enough."""

    async def send_in_time(message: Message) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await send(message)

    return send_in_time


async def stream_export(
    engine: AsyncEngine, export_format: ExportFormat, wallet: str, start: datetime | None, end: datetime | None
) -> AsyncGenerator[bytes, None]:
    """Yield a file in chunks. A server-side cursor reads the rows, so memory does not grow with the file."""
    statement = wallet_orders(wallet, start, end, executed_only=export_format.executed_only)
    writer = export_format.make_writer()
    async with engine.execution_options(isolation_level="READ COMMITTED").connect() as connection:
        result = await connection.stream(statement, execution_options={"yield_per": BATCH_ROWS})
        try:
            chunk = writer.begin()
            async for batch in result.partitions():
                yield chunk + writer.rows(batch)
                chunk = b""
            yield chunk + writer.end()
        finally:
            await result.close()  # SQLAlchemy does not close the cursor of a lost connection


class ExportResponse(StreamingResponse):
    """A streamed file whose first chunk exists already; it closes the generator of the other chunks at its end.

    It ends without its last chunk if the client reads too slowly: a slow reader would keep a database connection.
    """

    def __init__(
        self, first_chunk: bytes, other_chunks: AsyncGenerator[bytes, None], media_type: str, file_name: str
    ) -> None:
        headers = {"Content-Disposition": f'attachment; filename="{file_name}"', "X-Data-Limitations": DISCLAIMER}
        super().__init__(self._chunks(first_chunk, other_chunks), headers=headers, media_type=media_type)
        self._other_chunks = other_chunks

    async def stream_response(self, send: Send) -> None:
        """Send the chunks; close their generator, and with it the database connection, in every case."""
        async with aclosing(self._other_chunks):
            try:
                await super().stream_response(_with_timeout(send))
            except TimeoutError:
                _log.warning("export aborted: the client did not read a chunk within %g seconds", SEND_TIMEOUT_SECONDS)

    @staticmethod
    async def _chunks(first_chunk: bytes, other_chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield first_chunk
        async for chunk in other_chunks:
            if chunk:
                yield chunk


async def _download(request: Request, name: str, wallet: str, start: datetime | None, end: datetime | None) -> Response:
    require_start_before_end(start, end)
    export_format = FORMATS[name]
    chunks = stream_export(state_of(request).engines["exports"], export_format, wallet, start, end)
    first_chunk = await anext(chunks)
    file_name = f"twap-orders-{wallet}.{export_format.extension}"
    return ExportResponse(first_chunk, chunks, export_format.media_type, file_name)


def _file_response(name: str) -> dict[int | str, dict[str, object]]:
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": "The file.", "content": {FORMATS[name].media_type: {"schema": schema}}}}


@router.get("/{wallet}/export.csv", response_class=Response, responses=_file_response("csv"))
async def export_orders_csv(request: Request, wallet: WalletPath, start: Start = None, end: End = None) -> Response:
    """Return a wallet's orders as CSV, one row per order, oldest first. The range applies to each order's last event.

    Text that a spreadsheet would execute as a formula begins with an apostrophe. The feed contains no fees, no closed
    profit and no slices. A download without its last chunk failed: repeat it.
    """
    return await _download(request, "csv", wallet, start, end)


@router.get("/{wallet}/export.parquet", response_class=Response, responses=_file_response("parquet"))
async def export_orders_parquet(request: Request, wallet: WalletPath, start: Start = None, end: End = None) -> Response:
    """Return the same rows as parquet: times as timestamps, decimals as exact text."""
    return await _download(request, "parquet", wallet, start, end)
