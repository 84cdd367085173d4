"""The routes that stream a wallet's orders as a file.

A failure before the first byte is an error response. After the first byte, a failure closes the connection before the
end of the response, so clients detect that the file is incomplete.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from enum import Enum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Message, Send

from twap_pipeline.api.parameters import End, Start, WalletPath, require_start_before_end
from twap_pipeline.api.routes import V2
from twap_pipeline.api.schemas.problems import ProblemBody
from twap_pipeline.api.schemas.tax_statement import TaxStatementBody
from twap_pipeline.api.state import state_of
from twap_pipeline.exports.export import ExportRequest, PreparedExport, prepare_export, read_statement
from twap_pipeline.exports.formats import BATCH_ROWS, FORMATS
from twap_pipeline.exports.tax.queries import MarketChoice, TaxRows

router = APIRouter(prefix=f"{V2}/wallets", tags=["exports"])


SEND_TIMEOUT_SECONDS = 20.0
"""How long a client may take to read one chunk of an export, which has `BATCH_ROWS` rows (about 0.5 MB of CSV)."""

_log = logging.getLogger("twap_pipeline.api")


async def stream_export(
    engine: AsyncEngine, request: ExportRequest, headers: dict[str, str]
) -> AsyncGenerator[bytes, None]:
    """Yield a file in chunks. A server-side cursor reads the rows, so memory does not grow with the file.

    ``headers`` gets the headers that depend on the orders, before the first chunk.

    Raises:
        ExportError: The file is refused; no chunk has been yielded.
    """
    async with engine.execution_options(isolation_level="REPEATABLE READ").connect() as connection:
        prepared = await connection.run_sync(prepare_export, request)
        headers.update(_content_headers(prepared))
        writer = prepared.writer
        result = await connection.stream(prepared.statement, execution_options={"yield_per": BATCH_ROWS})
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
        self, first_chunk: bytes, other_chunks: AsyncGenerator[bytes, None], media_type: str, headers: dict[str, str]
    ) -> None:
        super().__init__(self._chunks(first_chunk, other_chunks), headers=headers, media_type=media_type)
        self._other_chunks = other_chunks

    async def stream_response(self, send: Send) -> None:
        """Send the chunks; close their generator, and with it the database connection, in every case."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await send(message)

        async with aclosing(self._other_chunks):
            try:
                await super().stream_response(send_in_time)
            except TimeoutError:
                _log.warning("export aborted: the client did not read a chunk within %g seconds", SEND_TIMEOUT_SECONDS)

    @staticmethod
    async def _chunks(first_chunk: bytes, other_chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield first_chunk
        async for chunk in other_chunks:
            yield chunk


def _content_headers(prepared: PreparedExport) -> dict[str, str]:
    """Return what the file lacks; of a tax file, the kind of rows, and how many orders are skipped or span years."""
    headers = {"X-Data-Limitations": prepared.disclaimer}
    if review := prepared.review:
        headers["X-Rows"] = review.rows
        headers["X-Skipped-Orders"] = str(len(review.skipped))
        headers["X-Orders-Across-Years"] = str(len(review.orders_across_years))
    return headers


FormatName = Enum("FormatName", {name: name for name in FORMATS}, type=str)  # type: ignore[misc]  # names of data
"""The names of the export formats, for the OpenAPI document."""

MarketQuery = Annotated[
    MarketChoice | None,
    Query(
        description="Default: `spot` for a tax tool, else `all`. A tax file contains perpetuals only from their fills."
    ),
]
RowsQuery = Annotated[
    TaxRows | None,
    Query(
        description="Rows of a tax file: whole `orders` without fees, the fills of an order and UTC day (`days`), or"
        " `fills`. Default: `days` if fills of the range are loaded, else `orders`."
    ),
]
SkipIncomplete = Annotated[
    bool,
    Query(
        description="In a tax file, leave out orders that cannot be written or lack fills; else the file is refused."
    ),
]
_FILE = {"schema": {"type": "string", "format": "binary"}}
_REFUSED: dict[int | str, dict[str, object]] = {
    409: {"model": ProblemBody, "description": "The tax file cannot contain the market, or is incomplete."}
}
_FILE_RESPONSE: dict[int | str, dict[str, object]] = {
    200: {"description": "The file.", "content": {form.media_type: _FILE for form in FORMATS.values()}},
    **_REFUSED,
}


@router.get("/{wallet}/exports/{format}", response_class=Response, responses=_FILE_RESPONSE)
async def export_orders(
    request: Request,
    wallet: WalletPath,
    format: Annotated[FormatName, Path(description="The file format.")],  # noqa: A002  # the parameter's public name
    *,
    start: Start = None,
    end: End = None,
    market: MarketQuery = None,
    rows: RowsQuery = None,
    skip_incomplete: SkipIncomplete = False,
) -> Response:
    """Return a wallet's orders or fills as a file, oldest first. The range applies to last events, or to the fills.

    `csv` and `parquet` contain every column of the orders, `fills-csv` and `fills-parquet` of the fills; the other
    formats are for tax tools of the same names. If fills are loaded, a tax file contains the fills with their fees. In
    CSV of every column, text that a spreadsheet would execute as a formula begins with an apostrophe. A download
    without its last chunk failed: repeat it.
    """
    require_start_before_end(start, end)
    export = ExportRequest(format.value, wallet, start, end, market, skip_incomplete, rows)
    headers = {"Content-Disposition": f'attachment; filename="{export.file_name}"'}
    chunks = stream_export(state_of(request).engines["exports"], export, headers)
    return ExportResponse(await anext(chunks), chunks, FORMATS[format.value].media_type, headers)


@router.get("/{wallet}/exports/{format}/statement", responses=_REFUSED)
async def get_tax_statement(
    request: Request,
    wallet: WalletPath,
    format: Annotated[FormatName, Path(description="The format of a tax tool.")],  # noqa: A002  # the public name
    *,
    start: Start = None,
    end: End = None,
    market: MarketQuery = None,
    rows: RowsQuery = None,
) -> TaxStatementBody:
    """Return the accompanying statement of a tax file: which orders reconcile with their fills, and the file's sums.

    The statement also exists for a file that is refused: `is_complete` is false, and `skipped_orders` has the reasons.
    """
    require_start_before_end(start, end)
    export = ExportRequest(format.value, wallet, start, end, market, rows=rows)
    engine = state_of(request).engines["exports"]
    async with engine.execution_options(isolation_level="REPEATABLE READ").connect() as connection:
        statement = await connection.run_sync(read_statement, export)
    return TaxStatementBody.model_validate(statement, from_attributes=True)
