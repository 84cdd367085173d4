"""The sample's statuses and fills, loaded together: everything reconciles, except the deliberate faults."""

from pathlib import Path

from sqlalchemy import Engine, text

from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.ingest.plan import group_by_day
from twap_pipeline.sample import generate_sample
from twap_pipeline.sample.manifest import FILLS, STATUSES
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.sample.sample_reader import SMALL


def test_sample_fills_reconcile_except_the_faults(engine: Engine, tmp_path: Path) -> None:
    summary = generate_sample(tmp_path / "s", SMALL)
    ingest_everything(LocalDirectory(tmp_path / "s" / STATUSES), engine)
    with engine.begin() as connection:
        for day in dates_pending_refresh(connection):
            refresh_orders(connection, day)

    store, results = LocalDirectory(tmp_path / "s" / FILLS), []
    for day, refs in group_by_day(store.list_objects()).items():
        results += ingest_objects(store, engine, refs, day, data_set=TWAP_FILLS)

    assert [result.error for result in results if result.error] == []
    assert len(results) == summary.fill_objects
    row_counts = RowCounts.sum_of(result.row_counts for result in results)
    assert row_counts == RowCounts(inserted=summary.fills, metadata=summary.fill_rows - summary.fills)
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT state, count(*), min(twap_id) FROM twap_order_reconciliation GROUP BY 1")
        )
        states = {state: (count, twap_id) for state, count, twap_id in rows}
    assert states.keys() == {"reconciled", "running", "missing_fills", "no_order"}
    assert states["missing_fills"] == (1, summary.fill_faults["missing_slice"])
    assert states["no_order"] == (1, summary.fill_faults["no_order"])
    assert states["reconciled"][0] == summary.orders_ended - 1
    assert states["running"][0] == summary.orders - summary.orders_ended
