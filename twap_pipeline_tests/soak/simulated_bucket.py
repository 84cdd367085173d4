"""The bucket of the soak: objects are added, repeat earlier rows, are overwritten, or are unreadable for a while.

Every readable version is kept, so that a run without faults can load the same versions. A version is overwritten only
after the ingest log contains it. Otherwise it is undefined whether its rows belong to the history.
"""

import io
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import IO, TYPE_CHECKING

import polars as pl

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.source.selection import SkippedObjects
from twap_pipeline_tests.s3_server import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FIRST_DAY = date(2025, 8, 17)
BUCKET, PREFIX = "soak", "raw/twap_statuses/"
WRITER_USER_AGENT = "soak-writer"
"""Part of the user agent of the bucket's own requests. `StoreFaults` neither changes nor counts them."""

_OVERWRITE_RATE, _POISON_RATE, _REPEAT_RATE = 0.05, 0.02, 0.2
_LAST_MODIFIED_STEP_SECONDS = 2.0
"""LastModified has whole seconds: a later version of a key must be at least this much younger."""

_STATUSES = ("activated", "finished", "terminated", "error", "stopped", "paused")


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """A readable version of an object: its listing entry, its bytes and its number of rows."""

    ref: ObjectRef
    body: bytes
    rows: int


@dataclass(slots=True)
class SimulatedBucket:
    """A bucket on the local S3 server that changes with every `step`.

    Args:
        server: The S3 server.
        days: Number of days, from `FIRST_DAY`, that the objects belong to.
        seed: Determines the sequence of changes, but not their time.
        versions: Every readable version so far.
        change_counts: Number of changes by kind.
    """

    server: S3Server
    days: int
    seed: int
    versions: list[ObjectVersion] = field(default_factory=list)
    change_counts: Counter[str] = field(default_factory=Counter)
    _rng: random.Random = field(init=False)
    _client: "S3Client" = field(init=False)
    _current: dict[str, ObjectRef] = field(default_factory=dict)
    _poisoned: dict[str, float] = field(default_factory=dict)
    _recent_rows: list[dict[str, object]] = field(default_factory=list)
    _last_twap_id: int = 1_050_000

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._client = self.server.client(WRITER_USER_AGENT)
        self._client.create_bucket(Bucket=BUCKET)

    def step(self, ingested_etags: Callable[[], Mapping[str, str]]) -> None:
        """Make one change; most changes add an object.

        Args:
            ingested_etags: Returns the ETag by key that the ingest log contains now.
        """
        draw = self._rng.random()
        if draw < _OVERWRITE_RATE and self._overwrite(ingested_etags()):
            return
        if draw > 1 - _POISON_RATE:
            self._add_poisoned()
        elif draw > 1 - 2 * _POISON_RATE and self._poisoned:
            self._repair(min(self._poisoned))
        else:
            self._put(self._new_key(), self._new_rows(), "objects added")

    def repair_all(self) -> None:
        """Replace every unreadable object by a readable version."""
        for key in sorted(self._poisoned):
            self._repair(key)

    def current_etags(self) -> dict[str, str]:
        """Return the ETag by key of the readable objects."""
        return {key: ref.etag for key, ref in self._current.items()}

    def _new_key(self) -> str:
        day = FIRST_DAY + timedelta(days=self._rng.randrange(self.days))
        hour = self._rng.randrange(24)
        return f"{PREFIX}hourly/{day:%Y/%m/%d}/{hour:02}/part-{len(self._current) + len(self._poisoned):06}.parquet"

    def _overwrite(self, ingested_etags: Mapping[str, str]) -> bool:
        newest = datetime.now(UTC) - timedelta(seconds=_LAST_MODIFIED_STEP_SECONDS)
        keys = [
            key
            for key, ref in self._current.items()
            if ingested_etags.get(key) == ref.etag and ref.last_modified < newest
        ]
        if not keys:
            return False
        self._put(self._rng.choice(keys), self._new_rows(), "objects overwritten")
        return True

    def _add_poisoned(self) -> None:
        key = self._new_key()
        self._client.put_object(Bucket=BUCKET, Key=key, Body=self._rng.randbytes(200))
        self._poisoned[key] = time.monotonic()
        self.change_counts["objects poisoned"] += 1

    def _repair(self, key: str) -> None:
        time.sleep(max(0.0, self._poisoned.pop(key) + _LAST_MODIFIED_STEP_SECONDS - time.monotonic()))
        self._put(key, self._new_rows(), "objects repaired")

    def _new_rows(self) -> list[dict[str, object]]:
        rows = [self._new_event() for _ in range(self._rng.randint(1, 60))]
        if self._recent_rows and self._rng.random() < _REPEAT_RATE:
            sampled = self._rng.sample(self._recent_rows, min(10, len(self._recent_rows)))
            repeated = [dict(row) for row in sampled]
            for row in repeated[::2]:
                row["status"] = self._rng.choice(_STATUSES)
            rows += repeated
            self.change_counts["rows repeated"] += len(repeated)
        self._recent_rows = (self._recent_rows + rows)[-2_000:]
        return rows

    def _new_event(self) -> dict[str, object]:
        self._last_twap_id += 1
        time_of_event = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC) + timedelta(
            seconds=self._rng.uniform(0, 86_400 * self.days)
        )
        size = f"{self._rng.uniform(0.001, 5_000):.5f}"
        return {
            "twap_id": self._last_twap_id,
            "time": f"{time_of_event:%Y-%m-%dT%H:%M:%S.%f}{self._rng.randrange(1_000):03}",
            "state_user": f"0x{self._rng.getrandbits(160):040x}",
            "state_coin": self._rng.choice(("BTC", "ETH", "HYPE", "xyz:NVDA", "@107")),
            "state_side": self._rng.choice("AB"),
            "state_sz": size,
            "state_executedSz": self._rng.choice(("0.0", size)),
            "state_executedNtl": f"{self._rng.uniform(0, 10**6):.6f}",
            "state_minutes": self._rng.choice((5, 30, 90, 1_440)),
            "state_reduceOnly": False,
            "state_randomize": True,
            "state_timestamp": int(time_of_event.timestamp() * 1_000),
            "status": self._rng.choice(_STATUSES),
        }

    def _put(self, key: str, rows: list[dict[str, object]], change: str) -> None:
        buffer = io.BytesIO()
        pl.DataFrame(rows).write_parquet(buffer)
        self._client.put_object(Bucket=BUCKET, Key=key, Body=buffer.getvalue())
        (item,) = self._client.list_objects_v2(Bucket=BUCKET, Prefix=key, RequestPayer="requester")["Contents"]
        ref = ObjectRef(key, item["ETag"].strip('"'), item["LastModified"], item["Size"])
        self._current[key] = ref
        self.versions.append(ObjectVersion(ref, buffer.getvalue(), len(rows)))
        self.change_counts[change] += 1


class RecordedStore:
    """An `ObjectStore` over recorded versions, for a run without faults. It lists every version of a key."""

    url = f"s3://{BUCKET}/{PREFIX}"

    def __init__(self, versions: list[ObjectVersion]) -> None:
        self._refs = sorted(version.ref for version in versions)
        self._bodies = {(version.ref.key, version.ref.etag): version.body for version in versions}

    def uri(self, key: str) -> str:
        """Return the S3 URI of a key."""
        return f"s3://{BUCKET}/{key}"

    def list_objects(
        self, *, below: str = "", after: str = "", skipped: SkippedObjects | None = None
    ) -> Iterator[ObjectRef]:
        """Yield every recorded version in key order, filtered by key prefix and by start key."""
        yield from (ref for ref in self._refs if ref.key.startswith(below) and ref.key > after)

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Write the recorded bytes, rewind, and return True (checksum verified)."""
        into.write(self._bodies[ref.key, ref.etag])
        into.seek(0)
        return True
