"""How much memory one object takes at most, each measured as the peak of a fresh process that takes it alone."""

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import URL

from twap_pipeline.domain.source_schema import REQUIRED_COLUMNS
from twap_pipeline.sample import write_object
from twap_pipeline_tests.feed_factories import write_parquet

PEAK_MAX_MEGABYTES = 600.0
"""The bound of `docs/operations.md`, for an object of any size; the interpreter and its libraries are in it."""

_TAKE = """
import json, resource, sys
from pathlib import Path
from benchmarks.workloads import peak_megabytes
from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.database import make_engine, parse_database_url

store = LocalDirectory(Path(sys.argv[2]))
(ref,) = store.list_objects()
done = ingest_object(store, make_engine(parse_database_url(sys.argv[1])), ref, partition_date(ref))
print(json.dumps({"rows": done.row_counts.inserted, "error": done.error, "peak_megabytes": peak_megabytes()}))
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process that took one object said."""

    rows: int
    error: str | None
    peak_megabytes: float


def take(database: URL, directory: Path) -> Taken:
    """Take the one object of a directory in a fresh process."""
    url = database.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _TAKE, url, str(directory)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.fault("F6")
def test_an_honest_million_rows_are_loaded_within_the_bound(database: URL, tmp_path: Path) -> None:
    write_object(tmp_path / "bucket" / "million.parquet", 1_000_000)

    done = take(database, tmp_path / "bucket")

    assert (done.rows, done.error) == (1_000_000, None)
    assert done.peak_megabytes < PEAK_MAX_MEGABYTES


def bomb(rows: int) -> bytes:
    """Return an object of two megabytes that claims so many rows, all of them empty."""
    ballast = random.Random(1).randbytes(425_000).hex().encode()
    columns = {name: pa.nulls(rows) for name in (*REQUIRED_COLUMNS.values(), "time")}
    table = pa.table(columns).replace_schema_metadata({b"ballast": ballast})
    return write_parquet(table, compression="zstd", write_statistics=False)


@pytest.mark.fault("F6")
def test_a_decompression_bomb_is_refused_within_the_bound(database: URL, tmp_path: Path) -> None:
    data = bomb(20_000_000)
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "bomb.parquet").write_bytes(data)

    done = take(database, tmp_path / "bucket")

    assert 2_000_000 < len(data) < 2_500_000
    assert done.error == f"claims 20000000 rows in {len(data)} bytes: refused as a decompression bomb"
    assert done.peak_megabytes < PEAK_MAX_MEGABYTES
