"""Workloads that several parts measure, and the preparation of their input.

A workload function connects and returns the function that `subprocess_timer` times. Arguments are text.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO

import psycopg
from psycopg import sql

from benchmarks.subprocess_timer import Work
from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.source.base import open_store
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.loading.merge import copied_columns
from twap_pipeline.storage.loading.row_writer import encode_batch
from twap_pipeline_tests.large_object import write_object

PARTITION_DATE = date(2026, 11, 1)
TABLES = ("twap_status", "twap_orders")
COPY_CHUNK_BYTES = 1 << 20


def copy_file(url: str, file: str) -> Work:
    """Prepare the limit: COPY a file of encoded rows into twap_status through one connection."""
    connection = psycopg.connect(url)

    def copy() -> None:
        with connection, Path(file).open("rb") as rows:
            copy_into(connection, "twap_status", rows)

    return copy


def copy_into(connection: "psycopg.Connection[tuple[object, ...]]", table: str, rows: BinaryIO) -> None:
    """COPY encoded rows into a table that has the columns of twap_status."""
    columns = sql.SQL(", ").join(map(sql.Identifier, copied_columns(TWAP_STATUS)))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
    with connection.cursor().copy(statement) as stream:
        while chunk := rows.read(COPY_CHUNK_BYTES):
            stream.write(chunk)


def ingest(url: str, source_url: str, connections: str) -> Work:
    """Prepare loading every object of a source: fetch, decode, normalize, COPY, ingest log, commit."""
    store = open_store(source_url, allow_insecure_endpoint=True)
    refs = list(store.list_objects())
    engine = make_engine(parse_database_url(url))
    engine.connect().close()

    def load() -> None:
        results = ingest_objects(store, engine, refs, PARTITION_DATE, connections=int(connections))
        if errors := [result.error or "skipped" for result in results if result.error or result.skipped]:
            raise SystemExit(f"{len(errors)} of {len(results)} objects were not loaded; the first error: {errors[0]}")

    return load


def dump_tables(url: str, folder: Path, tables: Sequence[str] = TABLES) -> None:
    """Write the rows of tables as COPY text, a file per table."""
    folder.mkdir(exist_ok=True)
    with psycopg.connect(url) as connection:
        for table in tables:
            statement = sql.SQL("COPY {} ({}) TO STDOUT").format(sql.Identifier(table), _columns(connection, table))
            with (folder / table).open("wb") as out, connection.cursor().copy(statement) as stream:
                for rows in stream:
                    out.write(rows)


def copy_tables(url: str, folder: str) -> Work:
    """Prepare a limit: COPY the files that `dump_tables` has written into a folder, through one connection."""
    connection = psycopg.connect(url)

    def copy() -> None:
        with connection:
            for table in sorted(path.name for path in Path(folder).iterdir()):
                statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                    sql.Identifier(table), _columns(connection, table)
                )
                with Path(folder, table).open("rb") as rows, connection.cursor().copy(statement) as stream:
                    while chunk := rows.read(COPY_CHUNK_BYTES):
                        stream.write(chunk)

    return copy


def _columns(connection: "psycopg.Connection[tuple[object, ...]]", table: str) -> sql.Composed:
    """Return the columns of a table that are not generated."""
    rows = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        " AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position",
        (table,),
    )
    return sql.SQL(", ").join(sql.Identifier(str(name)) for (name,) in rows)


def write_copy_text(path: Path, out: BinaryIO) -> None:
    """Write the rows of a parquet file as COPY text, in the encoding that the loader writes."""
    ref = ObjectRef(path.name, "benchmark", datetime(2026, 11, 20, tzinfo=UTC), path.stat().st_size)
    with path.open("rb") as file:
        for batch in ObjectReader(ref, file).batches():
            out.write(encode_batch(ref, batch).text)


def write_objects(folder: Path, days: Sequence[date], objects: int, rows: int) -> None:
    """Write objects per day with rows each, in the layout of the bucket; no order is in two of them."""
    twap_id = 1_050_000
    for day in days:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        for number in range(objects):
            path = folder / f"hourly/{day:%Y/%m/%d}/{number:02}/part-0000.parquet"
            write_object(path, rows, seed=twap_id, day=midnight, first_twap_id=twap_id)
            twap_id += rows
