"""Celery workers execute a backfill over S3: a killed process, a lost machine and a stopped worker lose no row."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline.source.base import open_store
from twap_pipeline_tests.celery_cluster import MISSING, Cluster, Run, celery_cluster
from twap_pipeline_tests.dagster_client import object_key, until
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ExpectedHash, digest
from twap_pipeline_tests.s3_server import S3Server

DAYS = 3
ASSETS = ("twap_status", "twap_orders", "twap_daily_stats")
SECONDS = 240.0


@pytest.fixture
def source(s3: S3Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an S3 bucket with an object per day; the endpoint is in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    client = s3.client()
    client.create_bucket(Bucket="twap")
    for number in range(DAYS):
        key = object_key("a", number)
        bucket.put(key, [event(10 * number + row) for row in range(5)])
        client.put_object(Bucket="twap", Key=f"raw/{key}", Body=(bucket.directory / key).read_bytes())
    return "s3://twap/raw/"


def failed_runs(cluster: Cluster) -> list[Run]:
    return [run for run in cluster.runs() if run.status == "FAILURE"]


@pytest.mark.long
@pytest.mark.fault("R2")
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.timeout(500)
def test_lost_workers_of_a_backfill_lose_no_row(
    s3: S3Server,
    source: str,
    *,
    database: URL,
    empty_database: URL,
    engine: Engine,
    expected_hash: ExpectedHash,
    tmp_path: Path,
) -> None:
    is_open = threading.Event()

    def hold(request: Request, response: Response) -> Response:
        if request.method == "GET" and request.path.endswith(".parquet"):
            is_open.wait(SECONDS)
        return response

    s3.faults.append(hold)
    environment = {
        "TWAP_SOURCE_URL": source,
        "TWAP_START_DATE": str(DAY),
        "TWAP_MAX_PARTITIONS_PER_RUN": "1",
        "TWAP_SENSOR_INTERVAL_SECONDS": "2",
    }
    with celery_cluster(tmp_path, database, empty_database, environment, workers=3) as cluster:
        killed, lost, stopped = cluster.workers
        cluster.web.launch_backfill(ASSETS, [str(DAY + timedelta(days=number)) for number in range(DAYS)])

        until(lambda: s3.requests["GET"] == DAYS, SECONDS, "each worker loads an object")
        killed.kill_pool_process()
        lost.kill_machine()
        stopper = threading.Thread(target=stopped.stop, args=(SECONDS,))
        stopper.start()
        is_open.set()
        until(lambda: stopped.process.poll() is not None, SECONDS, "the stopped worker has ended its run")
        stopper.join()
        cluster.web.start_sensor("new_twap_objects")
        count = text("SELECT count(*) FROM etl_s3_ingest_log WHERE error_text IS NULL")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            until(lambda: connection.scalar(count) == DAYS, SECONDS, "all objects are loaded")
            assert connection.scalar(text("SELECT sum(failed_attempts) FROM etl_s3_ingest_log")) == 0
            until(lambda: len(failed_runs(cluster)) == 2, SECONDS, "the runs of both killed workers have ended")
        failed = failed_runs(cluster)

    assert (stopped.process.returncode, stopped.runs_ended()) == (0, 1)
    assert (len(failed), any("twap/lost" in run.tags for run in failed)) == (2, True)
    s3.faults.clear()
    assert digest(engine) == expected_hash(open_store(source, allow_insecure_endpoint=True))
