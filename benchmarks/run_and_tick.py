"""A run of one day and a tick of the sensor, by number of objects, when the ingest log contains every listed object.

The S3 client serves the pages of a made-up listing from memory, so the times exclude the network.
"""

import os
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any, cast, overload

import dagster as dg

from benchmarks.harness import Bench
from benchmarks.listed_store import record_as_loaded
from benchmarks.store_resource import GivenStoreResource
from benchmarks.subprocess_timer import Work
from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.event_log import record_source_partitions
from twap_pipeline.defs.resources import build_resources
from twap_pipeline.defs.sensors import KEYS_PER_TICK, RECENT_DAYS
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.settings import DATASET_START, load_settings
from twap_pipeline.source.s3 import S3Bucket, S3Location

DAYS = (datetime.now(UTC).date() - DATASET_START).days + 1
"""UTC days of the objects, until today; every day has the same number of objects."""

_PREFIX = "raw/twap_statuses/"
_SOURCE_URL = f"s3://benchmark/{_PREFIX}"
_PAGE_KEYS = 1_000
_LAST_MODIFIED = datetime(2026, 1, 1, tzinfo=UTC)
_ETAG = "0" * 32
_SIZE_BYTES = 140_000
_INSERT_LAYOUT_SQL = f"""
INSERT INTO etl_s3_key_layouts (source_url, layout)
VALUES ('{_SOURCE_URL}', '{_PREFIX}hourly/{{year:04}}/{{month:02}}/{{day:02}}')
ON CONFLICT DO NOTHING
"""


class DailyKeys(Sequence[str]):
    """The sorted keys of a bucket with the same number of objects on each of `DAYS`; computed, not stored."""

    def __init__(self, count: int) -> None:
        self._per_day = count // DAYS

    def __len__(self) -> int:
        """Return the number of keys."""
        return self._per_day * DAYS

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return the key at a position."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        day = DATASET_START + timedelta(days=index // self._per_day)
        return f"{_PREFIX}hourly/{day:%Y/%m/%d}/part-{index % self._per_day:06}.parquet"


def _ref(key: str) -> ObjectRef:
    return ObjectRef(key, _ETAG, _LAST_MODIFIED, _SIZE_BYTES)


class ListingClient:
    """S3 client that lists `DailyKeys`, and counts the pages: each is one LIST request."""

    def __init__(self, keys: DailyKeys) -> None:
        self.pages = 0
        self._keys = keys

    def get_paginator(self, _operation: str) -> "ListingClient":
        """Return the paginator of LIST."""
        return self

    def paginate(self, *, Prefix: str, StartAfter: str, **_: object) -> Iterator[Mapping[str, object]]:  # noqa: N803 - boto3
        """Yield the pages below a prefix and after a key."""
        first = max(bisect_left(self._keys, Prefix), bisect_right(self._keys, StartAfter))
        while True:
            self.pages += 1
            below = takewhile(lambda key: key.startswith(Prefix), self._keys[first : first + _PAGE_KEYS + 1])
            keys = list(below)
            first += _PAGE_KEYS
            items = [
                {"Key": key, "ETag": f'"{_ETAG}"', "LastModified": _LAST_MODIFIED, "Size": _SIZE_BYTES}
                for key in keys[:_PAGE_KEYS]
            ]
            is_truncated = len(keys) > _PAGE_KEYS
            yield {"IsTruncated": is_truncated, "NextContinuationToken": str(first), "Contents": items}
            if not is_truncated:
                return


def run(bench: Bench) -> None:
    """Print seconds, memory and LIST requests for growing numbers of objects."""
    print(f"{'':<44} {'objects':>9} {'seconds':>8} {'CPU s':>7} {'added MB':>8} {'LIST':>5}")
    sizes = (10_000, 100_000, 1_000_000) if bench.is_largest else (10_000, 100_000)
    for count in (1_000,) if bench.is_quick else sizes:
        bench.truncate()
        record_as_loaded(bench.url, (_ref(key) for key in DailyKeys(count)), _SOURCE_URL)
        bench.execute(_INSERT_LAYOUT_SQL)
        for name, workload in (("run of one day", prepare_run), ("tick", prepare_tick)):
            counter = bench.folder / "list-requests"
            results = [bench.measure(workload, str(count), str(counter)) for _ in range(bench.rounds)]
            seconds = statistics.median(result.seconds for result in results)
            cpu = statistics.median(result.cpu_seconds for result in results)
            added = max(result.added_megabytes for result in results)
            requests = counter.read_text()
            print(f"{name:<44} {count:>9,} {seconds:>8.2f} {cpu:>7.2f} {added:>8.0f} {requests:>5}", flush=True)
    print(flush=True)


def prepare_run(url: str, count: str, counter: str) -> Work:
    """Prepare a run of one day in the middle; the layouts of the source are known."""
    bucket = _open_bucket(url, int(count))
    day = DATASET_START + timedelta(days=DAYS // 2)

    def run_job() -> None:
        job = bucket.definitions.resolve_job_def("ingest_twap_status")
        job.execute_in_process(instance=bucket.instance, partition_key=day.isoformat())
        Path(counter).write_text(str(bucket.client.pages))

    return run_job


def prepare_tick(url: str, count: str, counter: str) -> Work:
    """Prepare a tick: of the whole source if that is one slice, else of a slice in the middle."""
    bucket = _open_bucket(url, int(count))
    is_one_slice = len(bucket.keys) <= KEYS_PER_TICK
    cursor = "" if is_one_slice else bucket.keys[len(bucket.keys) // 2]
    for number in range(DAYS) if is_one_slice else range(DAYS - RECENT_DAYS, DAYS):
        refs = {DATASET_START + timedelta(days=number): bucket.refs_of_day(number)}
        record_source_partitions(bucket.instance, AssetCatalog().key("twap_s3_objects"), _SOURCE_URL, refs)

    def tick() -> None:
        result = _tick(bucket, "new_twap_objects", cursor)
        if result.run_requests:
            raise SystemExit(f"the tick did not skip: {result}")
        Path(counter).write_text(str(bucket.client.pages))

    return tick


@dataclass(frozen=True, slots=True)
class _Bucket:
    """A made-up bucket with the definitions that use it."""

    keys: DailyKeys
    client: ListingClient
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def refs_of_day(self, number: int) -> list[ObjectRef]:
        """Return the objects of one day."""
        per_day = len(self.keys) // DAYS
        keys = self.keys[number * per_day : (number + 1) * per_day]
        return [_ref(key) for key in keys]


def _open_bucket(url: str, count: int) -> _Bucket:
    """Return the bucket, after work that imports and connects."""
    import_module("twap_pipeline.ingest.load")
    os.environ |= {"DATABASE_URL": url, "TWAP_SOURCE_URL": _SOURCE_URL}
    keys = DailyKeys(count)
    client = ListingClient(keys)
    settings, store = load_settings(), S3Bucket(cast(Any, client), S3Location("benchmark", _PREFIX))
    resources = {**build_resources(), "object_store": GivenStoreResource(settings, store)}
    definitions = build_definitions(settings, resources)
    bucket = _Bucket(keys, client, definitions, dg.DagsterInstance.ephemeral())
    refresh = definitions.resolve_job_def("refresh_twap_orders")
    refresh.execute_in_process(instance=bucket.instance, partition_key=str(DATASET_START))
    _tick(bucket, "stale_twap_orders", "")
    return bucket


def _tick(bucket: _Bucket, name: str, cursor: str) -> dg.SensorResult:
    resources = dict(bucket.definitions.resources or {})
    with dg.build_sensor_context(
        instance=bucket.instance, cursor=cursor, definitions=bucket.definitions, resources=resources
    ) as context:
        result = bucket.definitions.resolve_sensor_def(name)(context)
    if not isinstance(result, dg.SensorResult):
        raise SystemExit(f"{name} returned {result}")
    return result
