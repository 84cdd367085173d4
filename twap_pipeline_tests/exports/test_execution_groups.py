"""The review of a tax file reads groups of fills: it must find the same orders and lines as one of every fill."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.exports.export import ExportRequest, prepare_export
from twap_pipeline.exports.tax.queries import FillRange, MarketChoice
from twap_pipeline.exports.tax.review import TaxReview
from twap_pipeline_tests.exports.tax_files import insert_orders_of_fills
from twap_pipeline_tests.factories import NOON, WALLET
from twap_pipeline_tests.fill_rows import fill, insert_fills

SPOT: dict[str, object] = {"asset": "@107", "direction": "Buy", "realized_pnl": None}
FREE: dict[str, object] = {**SPOT, "fee": "0", "fee_token": None}
FLIP: dict[str, object] = {"direction": "Short > Long", "start_position": "-2"}
CLOSE: dict[str, object] = {"direction": "Close Short", "realized_pnl": "1", "fee": "0.5"}
VARIANTS: tuple[tuple[dict[str, object], dict[str, object]], ...] = (
    ({}, {"fee": "-0.1"}),
    ({}, {"realized_pnl": "0.01"}),
    ({}, {"realized_pnl": None}),
    ({}, {"direction": "Unknown"}),
    ({}, {"fee_token": None}),
    ({}, {"quote_symbol": "USDH"}),
    ({"price": "42.0512345678"}, {"price": "42.0512345678", "size": "5.0000000001"}),
    (CLOSE, {**CLOSE, "realized_pnl": "0.5"}),
    (CLOSE, {**CLOSE, "realized_pnl": "Infinity"}),
    (CLOSE, {**CLOSE, "fee": "0.0123456789"}),
    (FLIP, {**FLIP, "start_position": "-2.0000000001"}),
    (FLIP, {**FLIP, "start_position": "0"}),
    (SPOT, {**SPOT, "side": "unknown"}),
    (SPOT, {**SPOT, "fee": None}),
    (SPOT, {**SPOT, "fee": "NaN"}),
    (SPOT, {**SPOT, "price": "0"}),
    (SPOT, {**SPOT, "price": "42.0512345678"}),
    (SPOT, {**SPOT, "asset": "@9999"}),
    (SPOT, {**SPOT, "ts": NOON + timedelta(days=2)}),
    (FREE, {**FREE, "fee": "0.09"}),
    (FREE, FREE),
)
"""Values of two fills of an order and of a third one, with another outcome than the value that sorts first."""


@pytest.fixture(scope="module")
def varied(shared_engine: Engine) -> Engine:
    """An order per variant, with two fills of the first values and one of the second; pair 107 ends on the next day."""
    fills = [
        fill(10 * number + index, number, **{"ts": NOON, "quote_symbol": "USDC", **values})  # type: ignore[arg-type]
        for number, (usual, other) in enumerate(VARIANTS)
        for index, values in enumerate((usual, usual, other))
    ]
    insert_fills(shared_engine, *fills)
    insert_orders_of_fills(shared_engine)
    with shared_engine.begin() as connection:
        connection.execute(text("UPDATE spot_pairs SET valid_to = '2025-08-21Z' WHERE pair_index = 107"))
    return shared_engine


@pytest.mark.parametrize(("name", "market"), [("koinly", "all"), ("awaken", "spot"), ("awaken", "perp")])
def test_tax_review_by_groups_equals_review_of_all_fills(varied: Engine, name: str, market: MarketChoice) -> None:
    with varied.connect() as connection:
        request = ExportRequest(name, WALLET, market=market, rows="fills", skip_incomplete=True)
        review = prepare_export(connection, request).review
        assert review is not None
        whole = TaxReview(review.tool, review.rows, review.columns, review.to_entries, review.states)
        for row in connection.execute(FillRange(WALLET, None, None, market).select_executions("fills")):
            whole.add(row)

    assert review.skipped.keys() == whole.skipped.keys()
    assert (review.line_counts, sorted(review.truncated)) == (whole.line_counts, sorted(whole.truncated))
    assert whole.line_counts
    assert len(whole.skipped) >= 3
