"""All commands: how they are loaded, and errors that several commands report in one line."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from sqlalchemy import URL, Engine, text

from twap_pipeline.cli import COMMANDS, load_command
from twap_pipeline.cli import context as cli_context
from twap_pipeline.settings import load_settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.schema.revision_gate import compare_revisions
from twap_pipeline_tests.cli.command_runner import Command, count_rows, key
from twap_pipeline_tests.factories import WALLET, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_loaded_by_its_name(name: str) -> None:
    loaded = load_command(name)

    assert loaded.name == name
    assert loaded.help


def test_help_lists_every_command_without_importing_dagster() -> None:
    code = "import sys; from twap_pipeline.cli import cli; cli(['--help'], standalone_mode=False)"
    code += "; sys.exit('dagster' in sys.modules or 'sqlalchemy' in sys.modules)"

    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert process.returncode == 0, process.stderr
    assert all(f"  {name} " in process.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_error_of_a_command_is_status_2(command: Command, name: str) -> None:
    outcome = command(name, "--no-such-option")

    assert (outcome.status, outcome.out) == (2, "")
    assert "No such option" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate"],
        ["check"],
        ["ingest"],
        ["audit"],
        ["serve", "--port", "8765"],
        ["export", "--wallet", WALLET],
        ["test-alert"],
        ["grant-reader", "reader"],
        ["partition-by-month"],
        ["archive-month", "2025-03", "--to", "/tmp"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_failure_of_a_command_is_status_1(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")

    outcome = command(*arguments)

    assert outcome.status == 1
    assert "Traceback" not in outcome.out + outcome.err


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize(("number", "line"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_signal_during_import_ends_command_in_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, line: str, ignored: bool
) -> None:
    """A process 1 gets only the signals that it handles; a background job of a script starts with SIGINT ignored."""
    monkeypatch.setattr("twap_pipeline.cli.import_module", lambda _: signal.raise_signal(number))
    if ignored:
        signal.signal(number, signal.SIG_IGN)

    ended = command("migrate")

    assert (ended.status, ended.out, ended.err) == (128 + number, "", f"{line}\n")
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.fault("D10")
@pytest.mark.parametrize("arguments", [["ingest"], ["ingest", "--dry-run"], ["audit"], ["audit", "--deep"]])
def test_other_source_is_refused_in_one_error_line(
    command: Command, bucket: Bucket, engine: Engine, tmp_path: Path, arguments: list[str]
) -> None:
    bucket.put(key("a"), [event(1)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    (tmp_path / "other").mkdir()
    Bucket(tmp_path / "other").put(key("a"), [event(1), event(2)], hours=1)

    outcome = command(*arguments, "--source", (tmp_path / "other").as_uri())

    assert outcome.status == 1
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"error: the source is {(tmp_path / 'other').as_uri()}/, and the database contains objects")
    assert count_rows(engine) == 1


@pytest.mark.fault("D12")
def test_objects_before_start_date_are_ignored_and_named(
    command: Command, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put("hourly/2025/01/05/12/old.parquet", [event(2)])

    ingested, audited = command("ingest", "--start", "2025-01-01"), command("audit")

    assert (ingested.status, audited.status) == (0, 0)
    ignored = "ignored 1 objects before TWAP_START_DATE (2025-08-17): hourly/2025/01/05/12/old.parquet"
    assert ignored in ingested.err
    assert "before_start_date (1)" in audited.out
    assert "hourly/2025/01/05/12/old.parquet" in audited.out
    with engine.connect() as connection:
        assert connection.execute(text("SELECT twap_id FROM twap_status")).scalars().all() == ["1"]


@pytest.mark.fault("D9")
def test_object_pattern_selects_the_data(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.parquet", "part-1.pq", "part-2.pq"):
        bucket.put(f"hourly/2025/08/20/12/{name}", [event(1)])
    monkeypatch.setenv("TWAP_OBJECT_PATTERN", "part-*.pq")

    assert json.loads(command("ingest", "--dry-run", "--json").out)["objects"] == 2

    monkeypatch.setenv("TWAP_OBJECT_PATTERN", "*.csv")
    for name, expected in (("discover", "check TWAP_OBJECT_PATTERN"), ("ingest", "it contains no objects")):
        outcome = command(name)
        assert outcome.status == 1
        assert expected in outcome.err
        assert "3: name does not match TWAP_OBJECT_PATTERN (hourly/2025/08/20/12/a.parquet, " in outcome.err


@pytest.mark.fault("X2")
@pytest.mark.parametrize("name", ["ingest", "audit", "migrate"])
def test_unreachable_database_error_omits_password(
    command: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bucket.put(key("a"), [event(1)])
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:canary-p@ss@127.0.0.1:9/twap")

    outcome = command(name)

    assert outcome.status == 1
    assert "postgresql://somebody:***@127.0.0.1:9/twap" in outcome.err
    assert "canary" not in outcome.out + outcome.err


def test_database_without_tables_error_names_migrate(
    command: Command, bucket: Bucket, empty_database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    monkeypatch.setenv("DATABASE_URL", empty_database.render_as_string(hide_password=False))

    refused, migrated, ingested = command("ingest"), command("migrate"), command("ingest", "--dry-run")

    assert (refused.status, migrated.status, ingested.status) == (1, 0, 0)
    assert compare_revisions([], None).head in refused.err
    assert "`twap-pipeline migrate`" in refused.err
    assert f"at head {compare_revisions([], None).head}" in migrated.out


def test_database_sessions_have_the_name_of_the_command(database: URL) -> None:
    with (
        click.Context(click.Command("ingest"), info_name="ingest"),
        cli_context.database(load_settings()) as (engine, _),
        engine.connect() as connection,
    ):
        name = connection.execute(text("SHOW application_name")).scalar_one()

    assert name == "twap_pipeline_ingest"


def test_invalid_setting_error_names_the_variable(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_START_DATE", "yesterday")

    outcome = command("check")

    assert outcome.status == 1
    assert "TWAP_START_DATE" in outcome.err
