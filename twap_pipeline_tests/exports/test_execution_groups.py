"""The review of a tax file reads groups of fills: it must find the same orders and lines as one of every fill."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.exports.export import ExportRequest, prepare_export
from twap_pipeline.exports.tax.queries import FillRange, MarketChoice
from twap_pipeline.exports.tax.review import TaxReview
from twap_pipeline_tests.exports.tax_files import insert_orders_of_fills
from twap_pipeline_tests.factories import NOON, WALLET
from twap_pipeline_tests.fill_rows import fill, insert_fills

SPOT: dict[str, object] = {"asset": "@107", "side": "buy", "direction": "Buy", "start_position": None}
FLIP: dict[str, object] = {"direction": "Short > Long", "start_position": "-2"}
VARIANTS: tuple[tuple[dict[str, object], dict[str, object]], ...] = (
    ({}, {}),
    ({}, {"fee": "-0.1"}),
    ({}, {"fee": None}),
    ({}, {"fee": "NaN"}),
    ({}, {"fee": "0", "fee_token": None}),
    ({}, {"fee": "0.094612", "fee_token": None}),
    ({}, {"fee": "0"}),
    ({}, {"fee": "0.123456789"}),
    ({}, {"size": "5.0000000001"}),
    ({}, {"price": "42.0512345678"}),
    ({}, {"realized_pnl": "1"}),
    ({}, {"realized_pnl": "Infinity"}),
    ({}, {"realized_pnl": None}),
    ({"realized_pnl": "-0.5"}, {"realized_pnl": "0.094612"}),
    ({}, {"direction": "Net Child Vaults"}),
    ({}, {"direction": "Close Short", "realized_pnl": "3"}),
    ({}, FLIP),
    (FLIP, {**FLIP, "start_position": "0"}),
    ({}, {"quote_symbol": "USDH"}),
    (SPOT, SPOT),
    (SPOT, {**SPOT, "side": "X"}),
    (SPOT, {**SPOT, "price": "0"}),
    (SPOT, {**SPOT, "fee": "-1"}),
    (SPOT, {**SPOT, "fee_token": "HYPE"}),
    (SPOT, {**SPOT, "ts": datetime(2024, 12, 31, tzinfo=UTC)}),
    (SPOT, {**SPOT, "asset": "@9999"}),
    (SPOT, {**SPOT, "size": "0.123456789"}),
)
"""Values of two fills of an order, of which the second one changes what the file contains."""


@pytest.fixture(scope="module")
def varied(shared_engine: Engine) -> Engine:
    """An order per variant, with two fills of the first values and one of the second; pair 107 begins in 2025."""
    fills = [
        fill(10 * number + index, number, **{"ts": NOON, "quote_symbol": "USDC", **values})  # type: ignore[arg-type]
        for number, (usual, other) in enumerate(VARIANTS)
        for index, values in enumerate((usual, usual, other))
    ]
    insert_fills(shared_engine, *fills)
    insert_orders_of_fills(shared_engine)
    with shared_engine.begin() as connection:
        connection.execute(text("UPDATE spot_pairs SET valid_from = '2025-01-01Z' WHERE pair_index = 107"))
    return shared_engine


@pytest.mark.parametrize(("name", "market"), [("koinly", "all"), ("awaken", "spot"), ("awaken", "perp")])
def test_tax_review_by_groups_equals_review_of_all_fills(varied: Engine, name: str, market: MarketChoice) -> None:
    with varied.connect() as connection:
        request = ExportRequest(name, WALLET, market=market, rows="fills", skip_incomplete=True)
        review = prepare_export(connection, request).review
        assert review is not None
        whole = TaxReview(review.tool, review.rows, review.to_mapping, review.to_entries, review.states)
        for row in connection.execute(FillRange(WALLET, None, None, market).select_executions("fills")):
            whole.add(whole.to_mapping(row))

    assert review.skipped.keys() == whole.skipped.keys()
    assert (review.line_counts, sorted(review.truncated)) == (whole.line_counts, sorted(whole.truncated))
    assert len(whole.line_counts) >= 3
    assert len(whole.skipped) >= 3
