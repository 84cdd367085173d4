"""Peak memory of a process that loads objects."""

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
from twap_pipeline.source.parquet import BATCH_ROWS
from twap_pipeline_tests.feed_factories import write_parquet
from twap_pipeline_tests.large_object import write_object

MEMORY_MB = 600
"""The smallest value of TWAP_MAX_MEMORY_MB."""

_LOAD = """
import json, sys
from datetime import date
from pathlib import Path
import twap_pipeline.definitions  # a run imports it, which needs 100 MB
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline_tests.process_memory import peak_megabytes

url, directory, connections, memory_mb = sys.argv[1:]
store, engine = LocalDirectory(Path(directory)), make_engine(parse_database_url(url))
results = ingest_objects(
    store, engine, store.list_objects(), date(2025, 8, 17),
    connections=int(connections), max_memory_bytes=int(memory_mb) * 1_000_000,
)
print(json.dumps({
    "rows": sum(result.row_counts.inserted for result in results),
    "errors": [result.error for result in results if result.error],
    "peak_megabytes": peak_megabytes(),
}))
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of a process that loaded the objects of a directory."""

    rows: int
    errors: list[str]
    peak_megabytes: float


def load_in_process(database: URL, directory: Path, *, connections: int = 1) -> Measurement:
    """Load the objects of a directory in a new process that may use `MEMORY_MB`."""
    url = database.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _LOAD, url, str(directory), str(connections), str(MEMORY_MB)]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    return Measurement(**json.loads(process.stdout.splitlines()[-1]))


def bomb(rows: int) -> bytes:
    """Return an object of two megabytes whose metadata declares so many rows, all of them empty."""
    ballast = random.Random(1).randbytes(425_000).hex().encode()
    columns = {name: pa.nulls(rows) for name in (*REQUIRED_COLUMNS.values(), "time")}
    table = pa.table(columns).replace_schema_metadata({b"ballast": ballast})
    return write_parquet(table, compression="zstd", write_statistics=False)


@pytest.mark.fault("F6")
def test_objects_are_loaded_within_the_memory_setting(database: URL, tmp_path: Path) -> None:
    """Eight objects are written at once. With batches of `BATCH_ROWS` rows they need more than the setting.

    A decompression bomb among them is refused.
    """
    for number in range(8):
        path = tmp_path / "bucket" / f"{number}.parquet"
        write_object(path, BATCH_ROWS + 5_000, first_twap_id=1_050_000 + 100_000 * number)
    data = bomb(20_000_000)
    (tmp_path / "bucket" / "bomb.parquet").write_bytes(data)

    measured = load_in_process(database, tmp_path / "bucket", connections=8)

    assert 2_000_000 < len(data) < 2_500_000
    assert measured.errors == [f"declares 20000000 rows in {len(data)} bytes: refused as a decompression bomb"]
    assert measured.rows == 8 * (BATCH_ROWS + 5_000)
    assert measured.peak_megabytes < MEMORY_MB
