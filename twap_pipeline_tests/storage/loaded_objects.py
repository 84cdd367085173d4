"""Functions for the tests of loading: load objects of a bucket, and read what is stored."""

from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.ingest.load import IngestResult, ingest_object
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.parquet import BATCH_ROWS
from twap_pipeline.storage.loading import row_writer
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline_tests.factories import Bucket

DATED = "hourly/2025/08/20/12/part.parquet"


def load(engine: Engine, bucket: Bucket, *keys: str, batch_rows: int = BATCH_ROWS) -> list[IngestResult]:
    store = LocalDirectory(bucket.directory)
    refs = {ref.key: ref for ref in store.list_objects()}
    return [ingest_object(store, engine, refs[key], bucket.day, batch_rows=batch_rows) for key in keys]


def merge_new_version(connection: Connection, bucket: Bucket, data_set: DataSet = TWAP_STATUS) -> RowCounts:
    """Load the only object as a new version in the caller's transaction."""
    (ref,) = LocalDirectory(bucket.directory).list_objects()
    with (bucket.directory / ref.key).open("rb") as file:
        reader = ObjectReader(ref, file, data_set=data_set)
        batches = [row_writer.encode_batch(ref, batch, data_set) for batch in reader.batches()]
    return row_writer.load_rows(connection, ref, batches, data_set=data_set)


def truncate(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("TRUNCATE twap_status, etl_s3_ingest_log, etl_s3_ingest_history, twap_status_quarantine")
        )


def log_entry(engine: Engine) -> Row[Any]:
    with engine.connect() as connection:
        return connection.execute(text("SELECT * FROM etl_s3_ingest_log")).one()


def scalar(engine: Engine, statement: str) -> object:
    with engine.connect() as connection:
        return connection.execute(text(statement)).scalar_one()


def statuses(engine: Engine, twap_id: int = 1) -> list[tuple[str | None, Decimal | None]]:
    with engine.connect() as connection:
        return [(row.status, row.size_executed) for row in order_history(connection, str(twap_id))]
