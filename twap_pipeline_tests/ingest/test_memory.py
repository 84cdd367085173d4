"""Peak memory of the load of one object, measured in a new process."""

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
from twap_pipeline_tests.feed_factories import write_parquet
from twap_pipeline_tests.large_object import write_object

PEAK_MAX_MEGABYTES = 600.0
"""The documented bound for an object of any size, including the interpreter and its libraries."""

_LOAD = """
import json, resource, sys
from pathlib import Path
from twap_pipeline_tests.process_memory import peak_megabytes
from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url

store = LocalDirectory(Path(sys.argv[2]))
(ref,) = store.list_objects()
result = ingest_object(store, make_engine(parse_database_url(sys.argv[1])), ref, partition_date(ref))
print(json.dumps({"rows": result.row_counts.inserted, "error": result.error, "peak_megabytes": peak_megabytes()}))
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of a process that loaded one object."""

    rows: int
    error: str | None
    peak_megabytes: float


def load_in_process(database: URL, directory: Path) -> Measurement:
    """Load the one object of a directory in a new process."""
    url = database.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _LOAD, url, str(directory)]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    return Measurement(**json.loads(process.stdout.splitlines()[-1]))


@pytest.mark.fault("F6")
def test_large_object_is_loaded_within_the_memory_bound(database: URL, tmp_path: Path) -> None:
    """`benchmarks.one` measures a million rows: memory does not depend on the number of rows."""
    write_object(tmp_path / "bucket" / "large.parquet", 300_000)

    measured = load_in_process(database, tmp_path / "bucket")

    assert (measured.rows, measured.error) == (300_000, None)
    assert measured.peak_megabytes < PEAK_MAX_MEGABYTES


def bomb(rows: int) -> bytes:
    """Return an object of two megabytes whose metadata declares so many rows, all of them empty."""
    ballast = random.Random(1).randbytes(425_000).hex().encode()
    columns = {name: pa.nulls(rows) for name in (*REQUIRED_COLUMNS.values(), "time")}
    table = pa.table(columns).replace_schema_metadata({b"ballast": ballast})
    return write_parquet(table, compression="zstd", write_statistics=False)


@pytest.mark.fault("F6")
def test_bomb_is_refused_within_the_memory_bound(database: URL, tmp_path: Path) -> None:
    data = bomb(20_000_000)
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "bomb.parquet").write_bytes(data)

    measured = load_in_process(database, tmp_path / "bucket")

    assert 2_000_000 < len(data) < 2_500_000
    assert measured.error == f"declares 20000000 rows in {len(data)} bytes: refused as a decompression bomb"
    assert measured.peak_megabytes < PEAK_MAX_MEGABYTES
