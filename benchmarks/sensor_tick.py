"""``python -m benchmarks.sensor_tick``: a tick of the sensor over a long listing of which nothing is new."""

import argparse
import logging
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
from moto.backends import get_backend
from sqlalchemy import Engine

from twap_pipeline.definitions import build_definitions
from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.settings import DATASET_START, load_settings
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.s3_server import S3Server, s3_server

BUCKET = "benchmark"
MOTO_ACCOUNT = "123456789012"


def main() -> None:
    """Print what the first tick took, which records the days, and those after it, beside a bare listing."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.sensor_tick", description=__doc__)
    options.add_argument("--objects", type=int, default=10_000)
    options.add_argument("--ticks", type=int, default=5)
    given = options.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="twap-benchmark-") as name, s3_server() as server:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(folder / "postgres") as postgres:
            url = postgres.start()
            os.environ.update(_environment(server, url, folder))
            engine = make_engine(parse_database_url(url))
            upgrade(engine)
            _fill(server, given.objects)
            definitions = build_definitions(load_settings())
            store = (definitions.resources or {})["object_store"].open()
            listing = _record_all(engine, store)
            with dg.DagsterInstance.local_temp(str(folder)) as instance:
                ticks = [_tick(server, instance, definitions) for _ in range(given.ticks)]
            engine.dispose()
    print(f"{given.objects:,} objects, all in the ledger; a bare listing takes {listing:.2f} s of the test server")
    for number, (seconds, lists, said) in enumerate(ticks, start=1):
        print(f"tick {number}: {seconds:.2f} s, {lists} LIST, {seconds - listing:.2f} s beyond the listing; {said}")


def _environment(server: S3Server, url: str, folder: Path) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
        "TWAP_ALLOW_INSECURE_ENDPOINT": "true",
        "DATABASE_URL": url,
        "TWAP_SOURCE_URL": f"s3://{BUCKET}/raw/twap_statuses/",
        "TWAP_HOME": str(folder / "home"),
    }


def _fill(server: S3Server, objects: int) -> None:
    """Put the objects straight into the server's memory: by HTTP ten thousand would take minutes."""
    server.client().create_bucket(Bucket=BUCKET)
    memory = get_backend("s3")[MOTO_ACCOUNT]["aws"]
    for number in range(objects):
        at = DATASET_START + timedelta(days=number // 24)
        key = f"raw/twap_statuses/hourly/{at:%Y/%m/%d}/{number % 24:02}/part-0000.parquet"
        memory.put_object(BUCKET, key, b"x" * 100)


def _record_all(engine: Engine, store: ObjectStore) -> float:
    """Say of every object in the ledger that it is loaded, and return what listing them took."""
    started = time.perf_counter()
    refs = list(store.list_objects())
    seconds = time.perf_counter() - started
    with engine.begin() as connection:
        for ref in refs:
            ingest_log.record_loaded(
                connection,
                ref,
                partition_date(ref),
                RowCounts(inserted=1),
                data_warnings={},
                checksum_verified=True,
                sha256="",
                run_id=None,
            )
    return seconds


def _tick(server: S3Server, instance: dg.DagsterInstance, definitions: dg.Definitions) -> tuple[float, int, str]:
    before, started = server.requests["LIST"], time.perf_counter()
    sensor = definitions.resolve_sensor_def("new_twap_objects")
    with dg.build_sensor_context(
        instance=instance, definitions=definitions, resources=dict(definitions.resources or {})
    ) as context:
        result = sensor(context)
    seconds = time.perf_counter() - started
    if not isinstance(result, dg.SensorResult) or result.run_requests:
        raise SystemExit(f"the tick found something new: {result}")
    return seconds, server.requests["LIST"] - before, str(result.skip_reason)


if __name__ == "__main__":
    main()
