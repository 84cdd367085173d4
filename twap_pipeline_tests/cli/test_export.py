"""The commands ``export``, ``make-api-key`` and ``grant-reader``."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import URL, Engine, text

from twap_pipeline.api.keys import hash_key
from twap_pipeline.cli import cli
from twap_pipeline.errors import ExportError
from twap_pipeline_tests.api.serving import Tables
from twap_pipeline_tests.factories import WALLET, Bucket, event


@pytest.fixture
def tables(engine: Engine, bucket: Bucket) -> Tables:
    tables = Tables(engine, bucket)
    end = {**event(1, status="finished", minute=30, executed="10"), "state_executedNtl": "420.5"}
    tables.load("a", [event(1), end, event(2)])
    return tables


@pytest.mark.parametrize(("name", "rows"), [("csv", 2), ("koinly", 1), ("cointracker", 1)])
def test_export_writes_every_text_format(tables: Tables, name: str, rows: int) -> None:
    result = CliRunner().invoke(cli, ["export", "--wallet", WALLET.upper(), "--format", name])

    assert result.exit_code == 0, result.output
    assert len(list(csv.reader(result.stdout.splitlines()))) == rows + 1
    assert f"exported {rows} orders" in result.stderr
    assert "The feed contains no fees" in result.stderr
    assert ("perpetuals" in result.stderr) == (name != "csv")


def test_export_of_a_range_to_a_file(tables: Tables, tmp_path: Path) -> None:
    output = tmp_path / "year.csv"
    arguments = ["export", "--wallet", WALLET, "--start", "2025-08-20T12:30:00", "--end", "2026-01-01"]

    result = CliRunner().invoke(cli, [*arguments, "--output", str(output)])

    assert result.exit_code == 0, result.output
    assert [row[0] for row in csv.reader(output.read_text().splitlines())] == ["twap_id", "1"]
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.fault("A3")
def test_failed_export_keeps_the_old_file(tables: Tables, tmp_path: Path) -> None:
    output = tmp_path / "year.csv"
    output.write_text("last year's")
    with tables.engine.begin() as connection:
        connection.execute(text("UPDATE twap_orders SET side = 'X'"))

    result = CliRunner().invoke(cli, ["export", "--wallet", WALLET, "--format", "koinly", "--output", str(output)])

    assert isinstance(result.exception, ExportError)
    assert output.read_text() == "last year's"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["year.csv"]


def test_export_invalid_wallet_is_a_usage_error(database: URL) -> None:
    result = CliRunner().invoke(cli, ["export", "--wallet", "0x12"])

    assert (result.exit_code, "must be 0x and 40 hex digits" in result.output) == (2, True)


def test_make_api_key_prints_key_and_hash() -> None:
    result = CliRunner().invoke(cli, ["make-api-key"])

    key, key_hash = (line.split()[1] for line in result.output.splitlines())
    assert hash_key(key) == key_hash


def test_grant_reader_creates_the_role_once(database: URL) -> None:
    role = f"reader_by_command_{database.database}"

    first, second = (CliRunner().invoke(cli, ["grant-reader", role]) for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "password  " in first.output
    assert second.output == f"{first.output.splitlines()[0]}\n"
