"""What the soak's bucket holds: objects that arrive, repeat each other, are overwritten, or are spoiled and mended.

Every readable version is kept, so that a run without faults can see what the pipeline saw. A version is overwritten
only once the ledger holds it: otherwise nobody could say whether its rows belong to the history.
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
from twap_pipeline_tests.s3_server import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FIRST = date(2025, 8, 17)
BUCKET, PREFIX = "soak", "raw/twap_statuses/"
FEEDER = "soak-feeder"
"""In the user agent of the world's own requests, which no fault touches and no count counts."""

_OVERWRITTEN, _POISON, _REPEATED = 0.05, 0.02, 0.2
_SAME_TICK_SECONDS = 2.0  # the store's clock counts whole seconds
_STATUSES = ("activated", "finished", "terminated", "error", "stopped", "paused")


@dataclass(frozen=True, slots=True)
class Version:
    """A readable version as it was listed, with its bytes and rows."""

    ref: ObjectRef
    body: bytes
    rows: int


@dataclass(slots=True)
class World:
    """The bucket's side of the soak.

    Args:
        server: Where the bucket is.
        days: Days, from `FIRST`, over which the objects are spread.
        seed: Decides everything but the time at which it happens.
    """

    server: S3Server
    days: int
    seed: int
    versions: list[Version] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(init=False)
    _client: "S3Client" = field(init=False)
    _present: dict[str, ObjectRef] = field(default_factory=dict)
    _poisoned: dict[str, float] = field(default_factory=dict)
    _rows: list[dict[str, object]] = field(default_factory=list)
    _order: int = 1_050_000

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._client = self.server.client(FEEDER)
        self._client.create_bucket(Bucket=BUCKET)

    def step(self, held: Callable[[], Mapping[str, str]]) -> None:
        """Let one thing happen: mostly a new object.

        Args:
            held: Gives key → ETag of what the ledger holds now.
        """
        drawn = self._random.random()
        if drawn < _OVERWRITTEN and self._overwrite(held()):
            return
        if drawn > 1 - _POISON:
            self._poison()
        elif drawn > 1 - 2 * _POISON and self._poisoned:
            self._mend(min(self._poisoned))
        else:
            self._put(self._new_key(), self._new_rows(), "objects")

    def mend_all(self) -> None:
        """Replace every poisoned object by a readable one."""
        for key in sorted(self._poisoned):
            self._mend(key)

    def present(self) -> dict[str, str]:
        """Return key → ETag of all objects as they are now."""
        return {key: ref.etag for key, ref in self._present.items()}

    def _new_key(self) -> str:
        day = FIRST + timedelta(days=self._random.randrange(self.days))
        hour = self._random.randrange(24)
        return f"{PREFIX}hourly/{day:%Y/%m/%d}/{hour:02}/part-{len(self._present) + len(self._poisoned):06}.parquet"

    def _overwrite(self, held: Mapping[str, str]) -> bool:
        ready = [
            key
            for key, ref in self._present.items()
            if held.get(key) == ref.etag
            and datetime.now(UTC) - ref.last_modified > timedelta(seconds=_SAME_TICK_SECONDS)
        ]
        if not ready:
            return False
        key = self._random.choice(ready)
        self._put(key, self._new_rows(), "overwritten")
        return True

    def _poison(self) -> None:
        key = self._new_key()
        self._client.put_object(Bucket=BUCKET, Key=key, Body=self._random.randbytes(200))
        self._poisoned[key] = time.monotonic()
        self.told["poisoned"] += 1

    def _mend(self, key: str) -> None:
        time.sleep(max(0.0, self._poisoned.pop(key) + _SAME_TICK_SECONDS - time.monotonic()))
        self._put(key, self._new_rows(), "mended")

    def _new_rows(self) -> list[dict[str, object]]:
        rows = [self._event() for _ in range(self._random.randint(1, 60))]
        if self._rows and self._random.random() < _REPEATED:
            repeated = [dict(row) for row in self._random.sample(self._rows, min(10, len(self._rows)))]
            for row in repeated[::2]:
                row["status"] = self._random.choice(_STATUSES)
            rows += repeated
            self.told["rows repeated"] += len(repeated)
        self._rows = (self._rows + rows)[-2_000:]
        return rows

    def _event(self) -> dict[str, object]:
        self._order += 1
        at = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(
            seconds=self._random.uniform(0, 86_400 * self.days)
        )
        size = f"{self._random.uniform(0.001, 5_000):.5f}"
        return {
            "twap_id": self._order,
            "time": f"{at:%Y-%m-%dT%H:%M:%S.%f}{self._random.randrange(1_000):03}",
            "state_user": f"0x{self._random.getrandbits(160):040x}",
            "state_coin": self._random.choice(("BTC", "ETH", "HYPE", "xyz:NVDA", "@107")),
            "state_side": self._random.choice("AB"),
            "state_sz": size,
            "state_executedSz": self._random.choice(("0.0", size)),
            "state_executedNtl": f"{self._random.uniform(0, 10**6):.6f}",
            "state_minutes": self._random.choice((5, 30, 90, 1_440)),
            "state_reduceOnly": False,
            "state_randomize": True,
            "state_timestamp": int(at.timestamp() * 1_000),
            "status": self._random.choice(_STATUSES),
        }

    def _put(self, key: str, rows: list[dict[str, object]], what: str) -> None:
        out = io.BytesIO()
        pl.DataFrame(rows).write_parquet(out)
        self._client.put_object(Bucket=BUCKET, Key=key, Body=out.getvalue())
        (item,) = self._client.list_objects_v2(Bucket=BUCKET, Prefix=key, RequestPayer="requester")["Contents"]
        ref = ObjectRef(key, item["ETag"].strip('"'), item["LastModified"], item["Size"])
        self._present[key] = ref
        self.versions.append(Version(ref, out.getvalue(), len(rows)))
        self.told[what] += 1


class Recorded:
    """The versions of a world as an object store, for a run without faults."""

    def __init__(self, versions: list[Version]) -> None:
        self._refs = sorted(version.ref for version in versions)
        self._bodies = {(version.ref.key, version.ref.etag): version.body for version in versions}

    @property
    def url(self) -> str:
        """Where they were recorded from."""
        return f"s3://{BUCKET}/{PREFIX}"

    def uri(self, key: str) -> str:
        """Return the object's."""
        return f"s3://{BUCKET}/{key}"

    def list_objects(self, *, below: str = "", after: str = "") -> Iterator[ObjectRef]:
        """Yield the recorded versions, of an overwritten key all of them."""
        yield from (ref for ref in self._refs if ref.key.startswith(below) and ref.key > after)

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Write the recorded bytes."""
        into.write(self._bodies[ref.key, ref.etag])
        into.seek(0)
        return True
