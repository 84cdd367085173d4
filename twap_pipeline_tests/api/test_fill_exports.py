"""The exports ``fills-csv`` and ``fills-parquet``: exact values, ranges, symbols, and what the command prints."""

import csv
import io
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx2
import polars as pl
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from twap_pipeline.cli import cli
from twap_pipeline.exports.rows import FILL_COLUMNS
from twap_pipeline_tests.factories import NOON, WALLET
from twap_pipeline_tests.fill_rows import fill, insert_fills

PATH = f"/api/v2/wallets/{WALLET}/exports"
RANGE = {"start": "2025-08-20", "end": "2025-08-20T12:03:00Z"}


@pytest.fixture(autouse=True)
def fills(engine: Engine) -> None:
    """Two fills of the range, out of order, one after it, and one of another wallet."""
    exact = {"price": "0.0000000001", "size": "12345678901234567890", "realized_pnl": "-0.10"}
    spot = fill(1, asset="@107", fee_token="HYPE", direction="=cmd()", **exact)  # type: ignore[arg-type]
    insert_fills(engine, fill(2, minute=2), spot, fill(3, minute=3), fill(4, wallet="0x" + "cd" * 20))


def test_fills_csv_has_exact_values_and_symbols(client: httpx2.Client) -> None:
    response = client.get(f"{PATH}/fills-csv", params=RANGE)

    first, second = csv.DictReader(io.StringIO(response.text))
    assert response.headers["content-disposition"] == f'attachment; filename="twap-fills-{WALLET}.csv"'
    assert "those of the loaded fills" in response.headers["x-data-limitations"]
    assert list(first) == list(FILL_COLUMNS)
    assert (first["trade_id"], second["trade_id"]) == ("1", "2")
    assert (first["price"], first["size"]) == ("0.0000000001", "12345678901234567890")
    assert (first["notional"], first["realized_pnl"]) == ("1234567890.1234567890", "-0.10")
    assert (first["asset"], first["symbol"], first["direction"]) == ("'@107", "HYPE/USDC", "'=cmd()")
    assert (first["ts"], first["is_taker"], first["dex"]) == ("2025-08-20T12:01:00.000000Z", "true", "")


def test_fills_parquet_equals_fills_csv(client: httpx2.Client) -> None:
    frame = pl.read_parquet(io.BytesIO(client.get(f"{PATH}/fills-parquet", params=RANGE).content))

    assert frame.columns == list(FILL_COLUMNS)
    assert frame["ts"].to_list() == [NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)]
    assert frame["price"].to_list() == ["0.0000000001", "42.05"]
    assert frame["is_taker"].to_list() == [True, True]
    assert frame["asset"].to_list() == ["@107", "HYPE"]


def test_fills_csv_of_a_market_has_only_its_fills(client: httpx2.Client) -> None:
    for market, ids in (("spot", ["1"]), ("perp", ["2", "3"]), ("all", ["1", "2", "3"])):
        response = client.get(f"{PATH}/fills-csv", params={"market": market})
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert [row["trade_id"] for row in rows] == ids, market


def test_export_command_writes_fills_and_prints_the_range(tmp_path: Path) -> None:
    output = tmp_path / "fills.csv"
    options = ["--format", "fills-csv", "--start", "2025-08-20", "--output", str(output)]

    result = CliRunner().invoke(cli, ["export", "--wallet", WALLET, *options])

    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert sum(Decimal(row["fee"]) for row in rows) == 3 * Decimal("0.094612")
    start = datetime(2025, 8, 20)  # noqa: DTZ001  # as the command prints it
    assert f"exported 3 fills with their time from {start} UTC to {output}" in result.output
    assert "Funding payments" in result.output
