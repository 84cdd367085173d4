"""The commands ``export``, ``make-api-key`` and ``grant-reader``."""

import csv
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import URL, Engine, text

from twap_pipeline.api.keys import hash_key
from twap_pipeline.cli import cli
from twap_pipeline.errors import ExportError
from twap_pipeline_tests.api.serving import Tables
from twap_pipeline_tests.embedded.client_process import IS_ROOT
from twap_pipeline_tests.factories import WALLET, Bucket, event
from twap_pipeline_tests.fill_rows import fill, insert_fills


@pytest.fixture
def tables(engine: Engine, bucket: Bucket) -> Tables:
    tables = Tables(engine, bucket)
    end = {**event(1, status="finished", minute=30, executed="10", asset="@107"), "state_executedNtl": "420.5"}
    perpetual = {**event(3, status="finished", minute=30, executed="10", asset="BTC"), "state_executedNtl": "420.5"}
    tables.load("a", [event(1, asset="@107"), end, event(2, asset="@107"), perpetual])
    return tables


@pytest.mark.parametrize(("name", "rows"), [("csv", 3), ("koinly", 1), ("summ", 1)])
def test_export_writes_every_text_format(tables: Tables, name: str, rows: int) -> None:
    result = CliRunner().invoke(cli, ["export", "--wallet", WALLET.upper(), "--format", name])

    assert result.exit_code == 0, result.output
    assert len(list(csv.reader(result.stdout.splitlines()))) == rows + 1
    assert f"exported {rows} orders" in result.stderr
    assert "without fees, closed profit and slices" in result.stderr
    assert ("not in this file: 1 order of perpetuals. " in result.stderr) == (name != "csv")


@pytest.mark.parametrize(("market", "twap_ids"), [("spot", ["1", "2"]), ("perp", ["3"]), ("all", ["1", "2", "3"])])
def test_export_market_selects_the_orders(tables: Tables, market: str, twap_ids: list[str]) -> None:
    result = CliRunner().invoke(cli, ["export", "--wallet", WALLET, "--market", market])

    assert result.exit_code == 0, result.output
    assert sorted(row["twap_id"] for row in csv.DictReader(result.stdout.splitlines())) == twap_ids


def test_export_skip_incomplete_prints_the_ids(tables: Tables) -> None:
    execute = "UPDATE twap_orders SET asset = '@9999' WHERE twap_id = '1'"
    with tables.engine.begin() as connection:
        connection.execute(text(execute))
    arguments = ["export", "--wallet", WALLET, "--format", "awaken"]

    refused = CliRunner().invoke(cli, arguments)
    skipped = CliRunner().invoke(cli, [*arguments, "--skip-incomplete"])

    assert isinstance(refused.exception, ExportError)
    assert "1 order cannot be written as a trade: 1 (unknown spot pair @9999)." in str(refused.exception)
    assert refused.stdout == ""
    assert (skipped.exit_code, skipped.stdout.count("\n")) == (0, 1)
    assert "exported 0 orders" in skipped.stderr
    assert "skipped 1 order: 1 (unknown spot pair @9999)" in skipped.stderr


@pytest.mark.parametrize("market", ["perp", "all"])
def test_tax_export_of_perpetuals_is_refused(tables: Tables, market: str) -> None:
    arguments = ["export", "--wallet", WALLET, "--format", "coinledger", "--market", market]

    result = CliRunner().invoke(cli, arguments)

    assert isinstance(result.exception, ExportError)
    assert "CoinLedger does not import them by CSV. Export the market spot" in str(result.exception)


def test_tax_export_of_fills_prints_rows_and_statement(tables: Tables, tmp_path: Path) -> None:
    slices = [fill(n, asset="@107", fee_token="HYPE", minute=n) for n in (1, 2)]
    insert_fills(tables.engine, *slices, fill(3, twap_id=3, asset="BTC", minute=3))
    statement = tmp_path / "statement.txt"
    arguments = ["export", "--wallet", WALLET, "--format", "koinly", "--start", "2025-08-20"]

    result = CliRunner().invoke(cli, [*arguments, "--statement", str(statement)])

    assert result.exit_code == 0, result.output
    assert [row["TxHash"] for row in csv.DictReader(result.stdout.splitlines())] == ["hl-twap-1-2025-08-20-buy"]
    assert "exported 1 rows (days) of 1 orders with their fills from 2025-08-20 00:00:00 UTC" in result.stderr
    assert "Fees and realized profit are those of the loaded fills" in result.stderr
    assert "--market perp (HTTP: market=perp) writes them, if their fills are loaded" in result.stderr
    assert {"complete: yes", "orders reconciled: 1"} <= set(statement.read_text().splitlines())


def test_tax_export_that_is_refused_writes_the_statement(tables: Tables, tmp_path: Path) -> None:
    insert_fills(tables.engine, fill(1, asset="@107", fee_token="HYPE"))
    statement, output = tmp_path / "statement.txt", tmp_path / "year.csv"
    arguments = ["export", "--wallet", WALLET, "--format", "koinly", "--statement", str(statement)]

    result = CliRunner().invoke(cli, [*arguments, "--output", str(output)])

    assert isinstance(result.exception, ExportError)
    assert "1 (missing_fills: fills of 5 of 10)" in str(result.exception)
    assert not output.exists()
    assert "complete: no, see the skipped orders" in statement.read_text()


def test_export_statement_of_csv_is_refused(tables: Tables, tmp_path: Path) -> None:
    arguments = ["export", "--wallet", WALLET, "--statement", str(tmp_path / "statement.txt")]

    result = CliRunner().invoke(cli, arguments)

    assert "the format csv has no statement; choose a tax tool: awaken, koinly" in str(result.exception)
    assert not list(tmp_path.glob("statement.txt"))


def test_export_of_a_range_to_a_file(tables: Tables, tmp_path: Path) -> None:
    output = tmp_path / "year.csv"
    arguments = ["export", "--wallet", WALLET, "--start", "2025-08-20T12:30:00", "--end", "2026-01-01"]

    result = CliRunner().invoke(cli, [*arguments, "--output", str(output)])

    assert result.exit_code == 0, result.output
    assert [row[0] for row in csv.reader(output.read_text().splitlines())] == ["twap_id", "1", "3"]
    assert list(tmp_path.glob(".*")) == []
    text = "exported 2 orders with their last event from 2025-08-20 12:30:00 UTC and before 2026-01-01 00:00:00 UTC to"
    assert text in result.stderr


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


def missing_directory(tmp_path: Path) -> Path:
    return tmp_path / "missing" / "year.csv"


def file_as_directory(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file" / "year.csv"


def name_too_long(tmp_path: Path) -> Path:
    return tmp_path / ("y" * 300)


def unwritable_directory(tmp_path: Path) -> Path:
    if IS_ROOT:
        return Path("/proc/year.csv")
    tmp_path.chmod(0o500)
    return tmp_path / "year.csv"


def full_device(tmp_path: Path) -> Path:
    (tmp_path / "year.csv").symlink_to("/dev/full")
    return tmp_path / "year.csv"


@pytest.mark.parametrize(
    "place", [missing_directory, file_as_directory, name_too_long, unwritable_directory, full_device]
)
@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_export_unwritable_output_is_one_line(
    tables: Tables, tmp_path: Path, place: Callable[[Path], Path], name: str
) -> None:
    output = place(tmp_path)

    arguments = ["export", "--wallet", WALLET, "--format", name, "--output", str(output)]
    result = CliRunner().invoke(cli, arguments)

    assert isinstance(result.exception, ExportError), result.output
    assert str(result.exception).startswith(f"cannot write {output}: ")
    assert len(str(result.exception).splitlines()) == 1
    assert not list(tmp_path.glob(".*"))


def test_export_on_full_disk_keeps_the_old_file(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "year.csv"
    output.write_text("last year's")

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    result = CliRunner().invoke(cli, ["export", "--wallet", WALLET, "--output", str(output)])

    assert isinstance(result.exception, ExportError)
    assert f"cannot write {output}: No space left on device" in str(result.exception)
    assert output.read_text() == "last year's"
    assert not list(tmp_path.glob(".*"))


def test_export_to_link_keeps_the_link(tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / ("y" * 251 + ".csv"))

    result = CliRunner().invoke(cli, ["export", "--wallet", WALLET, "--output", str(tmp_path / "link.csv")])

    assert result.exit_code == 0, result.output
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "link.csv").read_text().startswith("twap_id,")


def test_export_to_pipe_writes_the_pipe(tables: Tables, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    result = CliRunner().invoke(cli, ["export", "--wallet", WALLET, "--output", str(pipe)])

    assert result.exit_code == 0, result.output
    assert os.read(reader, 1000).startswith(b"twap_id,")
    assert pipe.is_fifo()
    os.close(reader)


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "--wallet", WALLET, "--start", "2025-08-21", "--end", "2025-08-20"],
        ["export", "--wallet", WALLET, "--start", "2025-08-20", "--end", "2025-08-20T00:00:00Z"],
        ["ingest", "--start", "2025-08-21", "--end", "2025-08-21"],
        ["export", "--wallet", WALLET, "--output", ""],
        ["export", "--wallet", WALLET, "--output", "."],
    ],
)
def test_reversed_range_or_no_file_is_a_usage_error(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)

    assert result.exit_code == 2
    assert any(word in result.output for word in ("must be before", "'--output'"))


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
