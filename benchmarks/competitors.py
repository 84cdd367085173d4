"""What else people would use, on the same objects into the same table, where it is installed.

None is a dependency: ``uv pip install adbc-driver-postgresql dlt 'sling<1.4.11'`` (later wheels of sling download their
program). Each makes the rows the way its users would.
"""

import json
import os
import subprocess
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Bench, in_turns, print_table
from benchmarks.one_object import LIMIT, measure_rows
from benchmarks.subprocess_timer import Measured, measure

if TYPE_CHECKING:
    import pandas as pd

_OURS = {
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
_COLUMNS = (*_OURS.values(), "s3_object_key", "raw_payload")
_TYPES = {"ts": "timestamptz", "duration_minutes": "integer", "raw_payload": "json"} | dict.fromkeys(
    ("size_requested", "size_executed", "notional_executed"), "numeric"
)
_TEXT = "text"
_FROM_STAGING = (
    f"INSERT INTO twap_status ({', '.join(_COLUMNS)})"
    f" SELECT {', '.join(f'{name}::{_TYPES.get(name, _TEXT)}' for name in _COLUMNS)} FROM staging"
    " ON CONFLICT (twap_id, wallet, ts) DO UPDATE SET status = excluded.status"
)


def run(bench: Bench) -> None:
    """Print the table; a peer that is not installed is named and left out."""
    rows = 2_000 if bench.is_quick else 100_000
    taken = measure_rows(bench, rows, bench.rounds, with_half=False)
    folder = bench.folder / f"one-{rows}"
    missing = [name for name, (module, _) in _WAYS.items() if find_spec(module) is None]
    works = {name: partial(_measure, bench, name, folder) for name in _WAYS if name not in missing}
    print_table(f"peers, {rows:,} rows", {**taken, **in_turns(bench.rounds, works)}, LIMIT)
    if missing:
        print(f"not installed: {', '.join(missing)}\n")


def _measure(bench: Bench, name: str, folder: Path) -> Measured:
    bench.empty()
    return measure(bench.postmaster, "peer", bench.url, name, str(folder))


def _frame(folder: Path) -> "pd.DataFrame":
    """Return the objects' rows under our names, the whole source row as JSON beside them."""
    import pandas as pd

    parts = []
    for path in sorted(folder.glob("*.parquet")):
        raw = pd.read_parquet(path)
        part = raw[list(_OURS)].rename(columns=_OURS)
        part["twap_id"] = part["twap_id"].astype(str)
        part["s3_object_key"] = path.name
        part["raw_payload"] = [json.dumps(row) for row in raw.to_dict("records")]
        parts.append(part)
    return pd.concat(parts)


def _row_by_row(url: str, folder: Path) -> None:
    import psycopg

    marks = ", ".join(["%s"] * len(_COLUMNS))
    statement = f"INSERT INTO twap_status ({', '.join(_COLUMNS)}) VALUES ({marks}) ON CONFLICT DO NOTHING".encode()
    with psycopg.connect(url) as connection:
        for row in _frame(folder)[list(_COLUMNS)].itertuples(index=False, name=None):
            connection.execute(statement, row)


def _pandas_to_sql(url: str, folder: Path) -> None:
    import pandas as pd
    from sqlalchemy import JSON, Numeric, create_engine

    from twap_pipeline.storage.engine.url import parse_database_url

    frame = _frame(folder)
    frame["raw_payload"] = frame["raw_payload"].map(json.loads)
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True, format="ISO8601")
    sizes = ("size_requested", "size_executed", "notional_executed")
    for name in sizes:
        frame[name] = frame[name].map(Decimal)
    types = {"raw_payload": JSON, **dict.fromkeys(sizes, Numeric)}
    engine = create_engine(parse_database_url(url).set(drivername="postgresql+psycopg"))
    frame.to_sql("twap_status", engine, if_exists="append", index=False, method="multi", chunksize=1_000, dtype=types)


def _adbc(url: str, folder: Path) -> None:
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi  # type: ignore[import-not-found]  # a peer

    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("staging", pa.Table.from_pandas(_frame(folder)[list(_COLUMNS)], preserve_index=False))
        cursor.execute(_FROM_STAGING)
        cursor.execute("DROP TABLE staging")
        connection.commit()


def _dlt(url: str, folder: Path) -> None:
    import dlt  # type: ignore[import-not-found]  # a peer
    import psycopg
    import pyarrow as pa

    table = pa.Table.from_pandas(_frame(folder)[list(_COLUMNS)], preserve_index=False)
    destination = dlt.destinations.postgres(credentials=url)
    pipeline = dlt.pipeline("peer", destination=destination, dataset_name="peer", pipelines_dir=str(folder / ".dlt"))
    pipeline.run(table, table_name="staging", write_disposition="replace")
    with psycopg.connect(url) as connection:
        connection.execute(_FROM_STAGING.replace("FROM staging", "FROM peer.staging").encode())
        connection.execute("DROP SCHEMA peer CASCADE")


def _sling(url: str, folder: Path) -> None:
    import psycopg
    from sling import SLING_BIN  # type: ignore[import-not-found]  # a peer

    rows = folder / ".sling" / "staging.csv"  # parquet it reads by another program, which it downloads
    rows.parent.mkdir(exist_ok=True)
    _frame(folder)[list(_COLUMNS)].to_csv(rows, index=False)
    target = ("--tgt-conn", "PEER", "--tgt-object", "public.staging", "--mode", "full-refresh")
    environment = {**os.environ, "PEER": f"{url}?sslmode=disable", "SLING_DISABLE_TELEMETRY": "TRUE"}
    subprocess.run([SLING_BIN, "run", "--src-stream", rows.as_uri(), *target], check=True, env=environment)
    with psycopg.connect(url) as connection:
        connection.execute(_FROM_STAGING.encode())
        connection.execute("DROP TABLE staging")


_WAYS: dict[str, tuple[str, Callable[[str, Path], None]]] = {
    "ADBC ingest, then INSERT … ON CONFLICT": ("adbc_driver_postgresql", _adbc),
    "dlt, then INSERT … ON CONFLICT": ("dlt", _dlt),
    "sling, then INSERT … ON CONFLICT": ("sling", _sling),
    "pandas.to_sql(method='multi')": ("pandas", _pandas_to_sql),
    "a plain loader, row by row": ("psycopg", _row_by_row),
}


def _ready(load: Callable[[str, Path], None], url: str, folder: Path) -> Callable[[], Any]:
    return partial(load, url, folder)


PEERS = {name: partial(_ready, load) for name, (_, load) in _WAYS.items()}
"""Name → what makes it ready, given the database's URL and the folder of objects."""
