"""The examples of the page on clients, executed against an app and a database."""

import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import URL

from twap_pipeline.paths import ROOT
from twap_pipeline_tests.api.serving import Tables
from twap_pipeline_tests.factories import event

PAGE = (ROOT / "docs" / "how-to" / "clients.md").read_text("utf-8")
EXAMPLE_WALLET = "0x6926bb042cf8c5600a43e4247816b299156e58e1"


def example(heading: str, base_url: object = "") -> str:
    """Return the code below a heading, with the address of an app and the year of the test data."""
    (code,) = re.findall(rf"^## {heading}\n.*?^```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    code = code.replace("start=2026-01-01&end=2027-01-01", "start=2025-01-01&end=2026-01-01")
    return str(code.replace("http://127.0.0.1:8000", str(base_url).rstrip("/")))


@pytest.fixture
def loaded(tables: Tables) -> Tables:
    """Two ended orders of the wallet of the examples, 420.5 USD each."""
    end = {"status": "finished", "minute": 30, "executed": "10", "wallet": EXAMPLE_WALLET}
    tables.load("a", [{**event(n, **end), "state_executedNtl": "420.5"} for n in (1, 2)])  # type: ignore[arg-type]
    return tables


@pytest.mark.usefixtures("loaded")
def test_client_examples_of_http_read_the_orders(client: httpx2.Client, tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(example("Python", client.base_url), names)
    outputs = {name: run(program, heading, client, tmp_path) for name, program, heading in PROGRAMS}

    assert list(names["orders"]["twap_id"]) == ["1", "2"]
    assert names["orders"]["notional_executed"].sum() == Decimal(841)
    for name, output in outputs.items():
        assert output is None or re.findall(r"420\.5\b", output) == ["420.5"] * 2, name


PROGRAMS = [("curl", ["bash", "-ec"], "curl"), ("node", ["node", "--input-type=module", "-e"], "JavaScript")]


def run(program: list[str], heading: str, client: httpx2.Client, directory: Path) -> str | None:
    """Return what an example prints or writes; None if this machine lacks the program."""
    if shutil.which("curl" if heading == "curl" else program[0]) is None:
        return None
    code = example(heading, client.base_url)
    done = subprocess.run([*program, code], cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return (directory / "year.csv").read_text() if heading == "curl" else done.stdout


@pytest.mark.usefixtures("loaded")
def test_client_example_of_pandas_reads_exact_decimals(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    url = database.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)

    exec(example("pandas on the database"), names)

    assert list(names["orders"]["notional_executed"]) == [Decimal("420.5")] * 2
    names["engine"].dispose()
