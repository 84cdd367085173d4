"""Loaders of other tools for the same objects and the same table, each as its users would write it.

The module does not import the pipeline, so that the measured peak memory is the tool's own.
"""

import json
import subprocess
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from importlib import import_module
from pathlib import Path

import pandas as pd
import psycopg
import pyarrow as pa
from sqlalchemy import JSON, Numeric, create_engine, make_url

from benchmarks.subprocess_timer import Work
from twap_pipeline.storage.sql_files import load_queries

_SQL = load_queries("benchmarks", "competitors.sql")
_TABLE_COLUMNS = {
    "twap_id": "twap_id",
    "state_user": "wallet",
    "time": "ts",
    "state_coin": "asset",
    "state_side": "side",
    "state_sz": "size_requested",
    "state_executedSz": "size_executed",
    "state_executedNtl": "notional_executed",
    "status": "status",
    "state_minutes": "duration_minutes",
}
_NUMERIC_COLUMNS = ("size_requested", "size_executed", "notional_executed")


def read_rows(folder: Path) -> pd.DataFrame:
    """Return the objects' rows with the table's column names, in the table's order; ``raw_payload`` is JSON text."""
    frames = []
    for path in sorted(folder.glob("*.parquet")):
        raw = pd.read_parquet(path)
        frame = raw[list(_TABLE_COLUMNS)].rename(columns=_TABLE_COLUMNS)
        frame["twap_id"] = frame["twap_id"].astype(str)
        frame["s3_object_key"] = path.name
        frame["raw_payload"] = [json.dumps(row) for row in raw.to_dict("records")]
        frames.append(frame)
    return pd.concat(frames)


def insert_rows(url: str, folder: Path) -> None:
    """Insert row by row in one transaction."""
    with psycopg.connect(url) as connection:
        for row in read_rows(folder).itertuples(index=False, name=None):
            connection.execute(_SQL["insert_row"].encode(), row)


def pandas_to_sql(url: str, folder: Path) -> None:
    """Insert by ``DataFrame.to_sql(method="multi")``, 1,000 rows per statement."""
    frame = read_rows(folder)
    frame["raw_payload"] = frame["raw_payload"].map(json.loads)
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True, format="ISO8601")
    for name in _NUMERIC_COLUMNS:
        frame[name] = frame[name].map(Decimal)
    types = {"raw_payload": JSON, **dict.fromkeys(_NUMERIC_COLUMNS, Numeric)}
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    frame.to_sql("twap_status", engine, if_exists="append", index=False, method="multi", chunksize=1_000, dtype=types)


def adbc(url: str, folder: Path) -> None:
    """COPY by ADBC into a staging table, then INSERT ... ON CONFLICT."""
    dbapi = import_module("adbc_driver_postgresql.dbapi")
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("staging", pa.Table.from_pandas(read_rows(folder), preserve_index=False))
        cursor.execute(_SQL["insert_from_staging"])
        cursor.execute("DROP TABLE staging")
        connection.commit()


def dlt(url: str, folder: Path) -> None:
    """Load by dlt into a staging table, then INSERT ... ON CONFLICT."""
    tool = import_module("dlt")
    rows = pa.Table.from_pandas(read_rows(folder), preserve_index=False)
    pipeline = tool.pipeline(
        "competitor",
        destination=tool.destinations.postgres(credentials=url),
        dataset_name="competitor",
        pipelines_dir=str(folder / ".dlt"),
    )
    pipeline.run(rows, table_name="staging", write_disposition="replace")
    with psycopg.connect(url) as connection:
        connection.execute("SET LOCAL search_path = public, competitor")
        connection.execute(_SQL["insert_from_staging"].encode())
        connection.execute("DROP SCHEMA competitor CASCADE")


def sling(url: str, folder: Path) -> None:
    """Load by sling into a staging table, then INSERT ... ON CONFLICT.

    sling would download DuckDB to read parquet, so it reads CSV.
    """
    program = Path(str(import_module("sling_linux_amd64").__file__)).parent / "bin" / "sling-linux-amd64"
    rows = folder / ".sling" / "rows.csv"
    rows.parent.mkdir(exist_ok=True)
    read_rows(folder).to_csv(rows, index=False)
    source = ("--src-stream", rows.as_uri())
    target = ("--tgt-conn", f"{url}?sslmode=disable", "--tgt-object", "public.staging", "--mode", "full-refresh")
    done = subprocess.run([program, "run", *source, *target], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"sling failed: {done.stdout[-2_000:]}{done.stderr[-2_000:]}")
    with psycopg.connect(url) as connection:
        connection.execute(_SQL["insert_from_staging"].encode())
        connection.execute("DROP TABLE staging")


LOADERS: dict[str, tuple[str, Callable[[str, Path], None]]] = {
    "ADBC, then INSERT ... ON CONFLICT": ("adbc_driver_postgresql", adbc),
    "dlt, then INSERT ... ON CONFLICT": ("dlt", dlt),
    "sling from CSV, then INSERT ... ON CONFLICT": ("sling_linux_amd64", sling),
    "pandas.to_sql(method='multi')": ("pandas", pandas_to_sql),
    "INSERT row by row": ("psycopg", insert_rows),
}
"""The module that must be installed and the loader, by label."""


def load(url: str, label: str, folder: str) -> Work:
    """Prepare one of `LOADERS`; its module is imported before the time is measured."""
    module, loader = LOADERS[label]
    import_module(module)
    return partial(loader, url, Path(folder))
