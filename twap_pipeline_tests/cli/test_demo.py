"""The command ``demo``, and the sample data that ``demo`` and ``dev`` load."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from twap_pipeline.cli import COMMANDS, dagster_runs, dev
from twap_pipeline.cli.dev import print_next_commands
from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.ingest.plan import Plan
from twap_pipeline.paths import ROOT
from twap_pipeline.sample import generate_sample
from twap_pipeline.sample.manifest import latest_until
from twap_pipeline.settings import Settings
from twap_pipeline_tests.cli.command_runner import Outcome
from twap_pipeline_tests.databases import reachable_directory
from twap_pipeline_tests.sample.sample_reader import SMALL


@pytest.mark.parametrize(
    ("prefix", "program"),
    [(ROOT / ".venv", ".venv/bin/twap-pipeline"), (Path("/usr"), "twap-pipeline"), (ROOT.parent, "twap-pipeline")],
)
def test_next_commands_exist_where_they_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], prefix: Path, program: str
) -> None:
    """An installed package has no start.py, and a checkout's program is not in the PATH of the shell."""
    monkeypatch.setattr(sys, "prefix", str(prefix))

    print_next_commands()

    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert {line[0] for line in lines} == {program}
    assert {line[1] for line in lines} <= {*COMMANDS, "--help"}


def test_ingest_of_old_sample_names_what_to_delete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], engine: Engine, tmp_path: Path
) -> None:
    """The ingested days are those that are partitions: TWAP_START_DATE applies to the sample and its fills, too."""
    generate_sample(tmp_path / "sample", SMALL)
    ingested: dict[str, list[date]] = {}

    def run_ingest(*_: object, plans: dict[date, Plan], data_set: DataSet, **__: object) -> list[str]:
        ingested[data_set.name] = sorted(day for day, plan in plans.items() if plan.pending)
        return ["run"]

    monkeypatch.setattr(dagster_runs, "run_ingest", run_ingest)
    for name in ("run_refresh", "run_checks"):
        monkeypatch.setattr(dagster_runs, name, lambda _: None)
    settings = Settings(DATABASE_URL=None, TWAP_HOME=tmp_path, TWAP_START_DATE=date(2025, 8, 18))

    dev._ingest_sample(settings, engine)

    days = [date(2025, 8, 18), date(2025, 8, 19)]
    assert ingested == {"twap_status": days, "twap_fills": days}
    assert (
        "sample data from 2025-08-17 to 2025-08-20 00:00 UTC; for newer sample data stop all commands, delete the"
        f" folders postgres, sample and dagster in {tmp_path}, and run again\n" in capsys.readouterr().out
    )


def test_sample_is_ingested_without_fills_of_a_real_bucket(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, tmp_path: Path
) -> None:
    """TWAP_FILLS_URL alone makes `dev` ingest the sample's statuses, and no object of a bucket that costs money."""
    generate_sample(tmp_path / "sample", SMALL)
    ingested: list[str] = []

    def run_ingest(*_: object, data_set: DataSet, **__: object) -> list[str]:
        ingested.append(data_set.name)
        return ["run"]

    monkeypatch.setattr(dagster_runs, "run_ingest", run_ingest)
    monkeypatch.setattr(dagster_runs, "run_refresh", lambda _: None)

    dev._ingest_sample(Settings(DATABASE_URL=None, TWAP_HOME=tmp_path, TWAP_FILLS_URL="s3://bucket/"), engine)

    assert ingested == ["twap_status"]


def test_demo_twice_gives_the_same_content_checksum() -> None:
    """The sample exists already, and is small."""
    with reachable_directory() as home:
        generate_sample(home / "sample", replace(SMALL, until=latest_until(datetime.now(UTC))))
        first, second = demo(home), demo(home)

    assert (first.status, second.status) == (0, 0)
    assert "order " in first.out
    assert checksum_line(first) == checksum_line(second)
    assert len(re.findall(r"^file:\S+: 0 of [1-9]\d* objects are new$", second.out, re.MULTILINE)) == 2
    states = dict(re.findall(r"^(\w+) +([\d,]+) +[\d,]+ *$", first.out, re.MULTILINE))
    assert states.keys() == {"reconciled", "running", "missing_fills", "no_order"}
    assert (states["missing_fills"], states["no_order"]) == ("1", "1")
    assert re.search(r"^sample data from \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d \d\d:00 UTC$", second.out, re.MULTILINE)
    assert ["importing Dagster" in demo.err for demo in (first, second)] == [True, False]
    assert second.err.splitlines()[-1].startswith("stopping PostgreSQL: ")


def demo(home: Path) -> Outcome:
    """Run the demo in its own process: when the process ends, its PostgreSQL server stops."""
    environment = {
        "TWAP_HOME": str(home),
        "TWAP_START_DATE": "",
        "DATABASE_URL": "postgresql://never@127.0.0.1:9/touched",
    }
    command = [str(Path(sys.executable).with_name("twap-pipeline")), "demo"]
    process = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return Outcome(process.returncode, process.stdout, process.stderr)


def checksum_line(outcome: Outcome) -> str:
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("content checksum: ")]
    return line
