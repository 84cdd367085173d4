"""The export command: the file is there when it is whole, and not otherwise."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import URL, Engine, text

from twap_pipeline.cli import cli
from twap_pipeline.errors import ExportError
from twap_pipeline_tests.api.conftest import Tables
from twap_pipeline_tests.factories import WALLET, Bucket, event


@pytest.fixture
def tables(engine: Engine, bucket: Bucket) -> Tables:
    tables = Tables(engine, bucket)
    end = {**event(1, status="finished", minute=30, executed="10"), "state_executedNtl": "420.5"}
    tables.take("a", [event(1), end, event(2)])
    return tables


@pytest.mark.parametrize(("name", "rows"), [("csv", 2), ("koinly", 1), ("cointracker", 1)])
def test_every_format_and_the_plain_statement(tables: Tables, name: str, rows: int) -> None:
    done = CliRunner().invoke(cli, ["export", "--wallet", WALLET.upper(), "--format", name])

    assert done.exit_code == 0, done.output
    assert len(list(csv.reader(done.stdout.splitlines()))) == rows + 1
    assert f"{rows} orders" in done.stderr
    assert "Fees, closed profit and slices are not in this feed" in done.stderr
    assert ("perpetuals" in done.stderr) == (name != "csv")


def test_a_range_and_a_file(tables: Tables, tmp_path: Path) -> None:
    output = tmp_path / "year.csv"
    words = ["export", "--wallet", WALLET, "--start", "2025-08-20T12:30:00", "--end", "2026-01-01"]

    done = CliRunner().invoke(cli, [*words, "--output", str(output)])

    assert done.exit_code == 0, done.output
    assert [row[0] for row in csv.reader(output.read_text().splitlines())] == ["twap_id", "1"]
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.fault("A3")
def test_an_export_that_fails_leaves_no_file(tables: Tables, tmp_path: Path) -> None:
    output = tmp_path / "year.csv"
    output.write_text("last year's")
    with tables.engine.begin() as connection:
        connection.execute(text("UPDATE twap_orders SET side = 'X'"))

    done = CliRunner().invoke(cli, ["export", "--wallet", WALLET, "--format", "koinly", "--output", str(output)])

    assert isinstance(done.exception, ExportError)
    assert output.read_text() == "last year's"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["year.csv"]


def test_a_wallet_that_is_none_is_a_usage_error(database: URL) -> None:
    done = CliRunner().invoke(cli, ["export", "--wallet", "0x12"])

    assert (done.exit_code, "a wallet is 0x and 40 hex digits" in done.output) == (2, True)


def test_a_key_is_made_with_its_hash() -> None:
    from twap_pipeline.api.keys import hash_key

    done = CliRunner().invoke(cli, ["make-api-key"])

    key, hashed = (line.split()[1] for line in done.output.splitlines())
    assert hash_key(key) == hashed


def test_the_reader_s_role_is_made_once(database: URL) -> None:
    role = f"reader_by_command_{database.database}"

    first, second = (CliRunner().invoke(cli, ["grant-reader", role]) for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "password  " in first.output
    assert second.output == f"{first.output.splitlines()[0]}\n"
