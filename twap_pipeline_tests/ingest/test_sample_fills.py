"""The sample's statuses and fills, loaded together: everything reconciles, except the deliberate faults."""

from pathlib import Path

import polars as pl
from sqlalchemy import Engine, text

from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.domain.status import TERMINAL_STATUSES
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.ingest.plan import group_by_day
from twap_pipeline.sample import generate_sample
from twap_pipeline.sample.manifest import FILLS, STATUSES, read_manifest
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.sample.sample_reader import SMALL, count_orders, objects_of, read_sample


def test_sample_fills_reconcile_except_the_faults(engine: Engine, tmp_path: Path) -> None:
    generate_sample(tmp_path / "s", SMALL)
    manifest = read_manifest(tmp_path / "s")
    assert manifest is not None
    faults = manifest[1].fill_faults
    ingest_everything(LocalDirectory(tmp_path / "s" / STATUSES), engine)
    with engine.begin() as connection:
        for day in dates_pending_refresh(connection):
            refresh_orders(connection, day)

    store, results = LocalDirectory(tmp_path / "s" / FILLS), []
    for day, refs in group_by_day(store.list_objects()).items():
        results += ingest_objects(store, engine, refs, day, data_set=TWAP_FILLS)

    assert [result.error for result in results if result.error] == []
    paths = objects_of(tmp_path / "s" / FILLS)
    assert len(results) == len(paths)
    fill_ids = pl.concat(pl.read_parquet(path, columns=["twap_id"]) for path in paths)["twap_id"]
    row_counts = RowCounts.sum_of(result.row_counts for result in results)
    assert row_counts == RowCounts(inserted=fill_ids.count(), metadata=fill_ids.null_count())
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT state, count(*), min(twap_id) FROM twap_order_reconciliation GROUP BY 1")
        )
        states = {state: (count, twap_id) for state, count, twap_id in rows}
    assert states.keys() == {"reconciled", "running", "missing_fills", "no_order"}
    assert states["missing_fills"] == (1, faults["missing_slice"])
    assert states["no_order"] == (1, faults["no_order"])
    _, table = read_sample(tmp_path / "s" / STATUSES)
    ended = count_orders(table, TERMINAL_STATUSES)
    assert states["reconciled"][0] == ended - 1
    assert states["running"][0] == len({twap_id for twap_id, _, _ in table}) - ended
