"""``python -m benchmarks.sensor_tick``: measures ticks of the sensor when the ingest log contains every listed object.

The limit is a LIST of the same bucket without Dagster. The first ticks also record an observation per day.
"""

import argparse
import logging
import os
import time
from datetime import timedelta

import dagster as dg

from benchmarks.harness import create_database, temporary_server, url_with_password
from benchmarks.plan_large_log import record_as_loaded
from benchmarks.s3_process import BUCKET, CREDENTIALS, fill_bucket
from twap_pipeline.definitions import build_definitions
from twap_pipeline.settings import DATASET_START, load_settings
from twap_pipeline.source.base import open_store
from twap_pipeline_tests.s3_server import S3Server, s3_server


def main() -> None:
    """Print the duration and the LIST requests of each tick."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sensor_tick", description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--ticks", type=int, default=5)
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with temporary_server() as (server_url, folder), s3_server() as s3:
        engine = create_database(server_url, "sensor")
        database_url = url_with_password(engine)
        engine.dispose()
        source_url = f"s3://{BUCKET}/raw/twap_statuses/"
        os.environ |= {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": s3.url,
            "TWAP_ALLOW_INSECURE_ENDPOINT": "true",
            "DATABASE_URL": database_url,
            "TWAP_SOURCE_URL": source_url,
            "TWAP_HOME": str(folder / "home"),
        }
        fill_bucket(s3, ((_hourly_key(hour), b"x" * 100) for hour in range(options.objects)))
        started = time.perf_counter()
        refs = list(open_store(source_url, allow_insecure_endpoint=True).list_objects())
        list_seconds = time.perf_counter() - started
        record_as_loaded(database_url, refs)
        definitions = build_definitions(load_settings())
        with dg.DagsterInstance.local_temp(str(folder)) as instance:
            ticks = [_run_tick(s3, instance, definitions) for _ in range(options.ticks)]
    print(f"{options.objects:,} objects, all in the ingest log; a LIST without Dagster takes {list_seconds:.2f} s")
    for number, (seconds, requests, skip_reason) in enumerate(ticks, start=1):
        print(f"tick {number}: {seconds:.2f} s, {seconds / list_seconds:.2f} x LIST, {requests} LIST; {skip_reason}")


def _hourly_key(hour: int) -> str:
    day = DATASET_START + timedelta(days=hour // 24)
    return f"raw/twap_statuses/hourly/{day:%Y/%m/%d}/{hour % 24:02}/part-0000.parquet"


def _run_tick(s3: S3Server, instance: dg.DagsterInstance, definitions: dg.Definitions) -> tuple[float, int, str]:
    """Return the duration in seconds, the number of LIST requests and the skip reason.

    Raises:
        SystemExit: The tick did not skip.
    """
    requests_before, started = s3.requests["LIST"], time.perf_counter()
    sensor = definitions.resolve_sensor_def("new_twap_objects")
    with dg.build_sensor_context(
        instance=instance, definitions=definitions, resources=dict(definitions.resources or {})
    ) as context:
        result = sensor(context)
    seconds = time.perf_counter() - started
    if not isinstance(result, dg.SensorResult) or result.run_requests or not result.skip_reason:
        raise SystemExit(f"the tick did not skip: {result}")
    skip_message = result.skip_reason if isinstance(result.skip_reason, str) else result.skip_reason.skip_message
    return seconds, s3.requests["LIST"] - requests_before, skip_message or ""


if __name__ == "__main__":
    main()
