"""The commands: output, exit status, and one line on standard error per failure."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from sqlalchemy import URL, Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline.cli import COMMANDS, dagster_runs, dev, load_command, main
from twap_pipeline.cli.dagster_runs import open_instance
from twap_pipeline.cli.dev import print_next_commands
from twap_pipeline.definitions import build_definitions
from twap_pipeline.failpoints import FailpointName, activate_failpoint
from twap_pipeline.ingest.plan import Plan
from twap_pipeline.paths import ROOT
from twap_pipeline.sample import generate_sample
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.schema.revision_gate import code_head
from twap_pipeline_tests.databases import reachable_directory
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.s3_server import S3Server
from twap_pipeline_tests.sample.sample_reader import SMALL
from twap_pipeline_tests.storage.catalog import execute


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, bucket: Bucket
) -> Command:
    """A function that runs ``twap-pipeline`` in this process; the source is the test's bucket."""
    monkeypatch.setenv("TWAP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["twap-pipeline", *arguments])
        status: object = 0
        try:
            main()
        except SystemExit as end:
            status = end.code
        output = capsys.readouterr()
        return Outcome(status if isinstance(status, int) else 0, output.out, output.err)

    return run


def key(name: str) -> str:
    return f"hourly/{DAY:%Y/%m/%d}/12/{name}.parquet"


def order_ids(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT twap_id FROM twap_orders ORDER BY 1")).scalars())


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


def test_ingest_with_bad_object_refreshes_orders(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1), event(1, status="finished", minute=30), event(2)])
    (bucket.directory / key("bad")).write_bytes(b"not parquet")

    assert command("ingest").status == 1

    assert order_ids(engine) == ["1", "2"]


def test_ingest_with_key_prefix_records_prefixed_assets(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWAP_ASSET_KEY_PREFIX", "hyperliquid/twap")
    bucket.put(key("a"), [event(1)])

    assert command("ingest").status == 0

    with open_instance(load_settings()) as instance:
        names = ("twap_s3_objects", "twap_status", "twap_orders", "twap_daily_stats")
        assert {asset.path[-1] for asset in instance.all_asset_keys()} == set(names)
        assert {tuple(asset.path[:-1]) for asset in instance.all_asset_keys()} == {("hyperliquid", "twap")}


def test_ingest_end_is_exclusive(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1)])

    before = command("ingest", "--start", str(DAY - timedelta(days=1)), "--end", str(DAY))
    including = command("ingest", "--start", str(DAY), "--end", str(DAY + timedelta(days=1)))

    assert f"no objects from {DAY - timedelta(days=1)} to {DAY} (exclusive)" in before.err
    assert "ingested 1 objects" in including.out


def test_ingest_without_new_objects_refreshes_stale_orders(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])
    command("ingest")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM twap_orders"))
        connection.execute(text("UPDATE etl_s3_ingest_log SET orders_refreshed_at = NULL"))

    assert command("ingest").status == 0

    assert order_ids(engine) == ["1"]


def test_ingest_twice_ingests_once(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1), event(1, status="finished", minute=30)])

    first, second = command("ingest"), command("ingest")

    assert (first.status, second.status) == (0, 0)
    assert "ingested 1 objects, 0 failed (1 Dagster runs)" in first.out
    assert "run 1 of 1: loading 1 objects\n" in first.err
    assert "no new objects (1 already ingested)" in second.out
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one() == 2


def test_ingest_runs_have_the_code_location_of_the_web_server(command: Command, bucket: Bucket, database: URL) -> None:
    """Without it, the timeline and the pages of jobs do not list the runs."""
    bucket.put(key("a"), [event(1)])
    command("ingest")
    (server_location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text("utf-8"))["load_from"]

    with open_instance(load_settings()) as instance:
        (run,) = instance.get_runs()

    assert run.remote_job_origin is not None
    origin = run.remote_job_origin.repository_origin
    assert origin.code_location_origin.location_name == server_location["python_module"]["location_name"]
    assert origin.repository_name == build_definitions(load_settings()).get_repository_def().name
    assert run.tags_for_storage()[".dagster/repository"] == "__repository__@twap_pipeline"


@pytest.mark.usefixtures("database")
def test_ingest_runs_cover_no_day_without_objects(
    command: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's UI shows such a day as missing, not as materialized."""
    ranges: list[list[str]] = []

    def run_job(*_: object, tags: dict[str, str], **__: object) -> str:
        ranges.append(sorted(tags.values()))
        return "run"

    monkeypatch.setattr(dagster_runs, "_run_job", run_job)
    for number in (0, 1, 3):
        bucket.put(f"hourly/{DAY + timedelta(days=number):%Y/%m/%d}/12/a.parquet", [event(1)])

    assert command("ingest").status == 0

    assert ranges == [["2025-08-20", "2025-08-21"], ["2025-08-23", "2025-08-23"]]


def test_ingest_with_bad_object_exits_with_status_1(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1)])
    (bucket.directory / key("bad")).write_bytes(b"not parquet")

    outcome = command("ingest")

    assert outcome.status == 1
    assert f"failed: {key('bad')}: is not a readable parquet file" in outcome.err
    assert "ingested 1 objects, 1 failed" in outcome.out


def test_ingest_with_only_parked_objects_exits_with_status_1(command: Command, bucket: Bucket, database: URL) -> None:
    (bucket.directory / "hourly").mkdir()
    (bucket.directory / f"{DAY}.parquet").write_bytes(b"not parquet")
    for _ in range(3):
        command("ingest")

    outcome = command("ingest")

    assert outcome.status == 1
    assert f"skipped 1 parked objects: {DAY}.parquet" in outcome.err


def test_ingest_json_has_runs_rows_and_failures(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1), event(2, wallet="?")])

    outcome = command("ingest", "--json")
    result = json.loads(outcome.out)

    assert (result["objects_ingested"], outcome.err) == (1, "")
    assert len(result["runs"]) == 1
    assert (result["rows"]["read"], result["rows"]["inserted"], result["rows"]["quarantined"]) == (2, 1, 1)
    assert result["failed"] == []


def test_dry_run_writes_nothing(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])

    outcome = command("ingest", "--dry-run")

    assert outcome.status == 0
    assert "dry run: would ingest 1 objects in 1 partitions" in outcome.out
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM etl_s3_ingest_log")).scalar_one() == 0


@pytest.mark.fault("X1")
def test_dry_run_on_s3_sends_no_get(
    command: Command, bucket: Bucket, database: URL, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.parquet", [event(1)])
    s3.client().create_bucket(Bucket="twap")
    s3.client().upload_file(str(bucket.directory / "a.parquet"), "twap", f"raw/{DAY:%Y/%m/%d}/a.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.requests.clear()

    outcome = command("ingest", "--source", "s3://twap/raw/", "--dry-run", "--json")

    assert json.loads(outcome.out)["objects"] == 1
    assert s3.requests["GET"] == 0


def test_ingest_source_option_loads_from_s3(
    command: Command, bucket: Bucket, engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.parquet", [event(1)])
    s3.client().create_bucket(Bucket="twap")
    s3.client().upload_file(str(bucket.directory / "a.parquet"), "twap", f"raw/{DAY:%Y/%m/%d}/a.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)

    environment = dict(os.environ)

    outcome = command("ingest", "--source", "s3://twap/raw/")

    assert outcome.status == 0
    assert os.environ == environment, "the option is passed as a setting, not through the environment"
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT s3_object_key FROM twap_status")).scalar_one()
    assert stored == f"raw/{DAY:%Y/%m/%d}/a.parquet"


def test_ingest_object_key_loads_only_that_object(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])

    outcome = command("ingest", "--object-key", key("b"))

    assert outcome.status == 0
    with engine.connect() as connection:
        assert connection.execute(text("SELECT twap_id FROM twap_status")).scalars().all() == ["2"]


@pytest.mark.fault("X1")
def test_ingest_over_budget_exits_with_status_1(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_RUN", "10")

    outcome = command("ingest")

    assert outcome.status == 1
    assert "TWAP_MAX_BYTES_PER_RUN allows 10" in outcome.err


def test_sample_is_refused_for_configured_database(
    command: Command, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TWAP_SOURCE_URL")

    outcome = command("ingest")

    assert outcome.status == 1
    assert "DATABASE_URL is set and TWAP_SOURCE_URL is not" in outcome.err


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


@pytest.mark.fault("D9", "D12")
def test_ingest_json_counts_objects_that_are_not_ingested(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    for day in range(1, 6):
        bucket.put(f"hourly/2025/01/0{day}/12/old.parquet", [event(2)])
    for name in ("manifest.json", "_temporary/b.parquet"):
        path = bucket.directory / f"hourly/2025/08/20/12/{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    outcome = command("ingest", "--dry-run", "--json")

    summary = json.loads(outcome.out)
    assert (summary["objects"], summary["objects_before_start_date"]) == (1, 5)
    assert summary["first_keys_before_start_date"] == [f"hourly/2025/01/0{day}/12/old.parquet" for day in (1, 2, 3)]
    assert summary["objects_skipped"] == {
        "a path segment starts with _ or .": 1,
        "name does not match TWAP_OBJECT_PATTERN": 1,
    }


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


@pytest.mark.fault("S7")
def test_refused_objects_in_a_row_are_one_error_line(
    command: Command, bucket: Bucket, engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the run is the pipeline's, which names bucket and key, not botocore's."""
    bucket.put("a.parquet", [event(1)])
    s3.client().create_bucket(Bucket="twap")
    for name in "abc":
        s3.client().upload_file(str(bucket.directory / "a.parquet"), "twap", f"raw/{DAY:%Y/%m/%d}/{name}.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.faults.append(refuse_get)

    outcome = command("ingest", "--json", "--source", "s3://twap/raw/")

    assert outcome.status == 1
    assert "the store refused 3 objects in a row" in outcome.err
    assert "GET s3://twap/raw/2025/08/20/c.parquet: 403 AccessDenied" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM etl_s3_ingest_log")).scalar_one() == 0


@pytest.mark.parametrize("pattern", ["(", "no-groups"])
def test_invalid_key_date_pattern_is_one_error_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.setenv("TWAP_KEY_DATE_PATTERN", pattern)

    outcome = command("discover")

    assert outcome.status == 1
    assert "TWAP_KEY_DATE_PATTERN" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "--start", "2024-01-01", "--end", "2024-02-01"], "from 2024-01-01 to 2024-02-01 (exclusive)"),
        (["ingest", "--object-key", "nowhere.parquet"], "lists no object 'nowhere.parquet'"),
        (["ingest", "--source", "file:///no/such/directory/"], "/no/such/directory"),
        (["ingest", "--source", "ftp://somewhere/"], "expected s3://bucket/prefix/ or file:///absolute/directory/"),
    ],
)
def test_range_or_source_without_objects_is_one_error_line(
    command: Command, bucket: Bucket, database: URL, arguments: list[str], message: str
) -> None:
    bucket.put(key("a"), [event(1)])

    outcome = command(*arguments)

    assert outcome.status == 1
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_missing_bucket_is_one_error_line(
    command: Command, database: URL, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)

    missing = command("ingest", "--source", "s3://no-such-bucket/raw/")

    assert missing.status == 1
    assert "NoSuchBucket" in missing.err
    assert len(missing.err.splitlines()) == 1


@pytest.mark.fault("S1")
def test_refused_bucket_is_one_error_line_with_requester_pays(
    command: Command, engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.client().create_bucket(Bucket="twap")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.faults.append(refuse_access)

    outcome = command("ingest", "--source", "s3://twap/raw/")

    assert outcome.status == 1
    assert "LIST s3://twap/raw/: 403 AccessDenied" in outcome.err
    assert "requester-pays" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert count_rows(engine) == 0


def refuse_get(request: Request, response: Response) -> Response:
    return response if "list-type" in request.args else refuse_access(request, response)


def refuse_access(_request: Request, _response: Response) -> Response:
    return Response("<Error><Code>AccessDenied</Code></Error>", 403)


def count_rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one())


@pytest.mark.fault("F3")
def test_object_without_required_column_names_it(command: Command, bucket: Bucket, engine: Engine) -> None:
    row = event(1)
    del row["state_executedSz"]
    bucket.put(key("a"), [row])

    outcome = command("ingest")

    assert outcome.status == 1
    assert f"failed: {key('a')}: " in outcome.err
    assert "state_executedSz" in outcome.err
    assert count_rows(engine) == 0


@pytest.mark.fault("X2")
def test_wrong_database_password_is_one_error_line_without_it(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    wrong = database.set(password="canary")
    monkeypatch.setenv("DATABASE_URL", wrong.render_as_string(hide_password=False))

    outcome = command("ingest")

    assert outcome.status == 1
    assert "password authentication failed" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert "canary" not in outcome.out + outcome.err


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


def test_denied_permission_of_a_run_names_the_grant(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(f"hourly/{DAY:%Y/%m/%d}/12/a.parquet", [event(1)])
    role = f"limited_{database.database}"
    execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    execute(database, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    limited = database.set(username=role, password="p")
    monkeypatch.setenv("DATABASE_URL", limited.render_as_string(hide_password=False))

    outcome = command("ingest", "--json")

    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert 'grant the privilege: GRANT SELECT, INSERT, UPDATE, DELETE ON "etl_s3_ingest_attempts" TO' in outcome.err


def test_database_without_tables_error_names_migrate(
    command: Command, bucket: Bucket, empty_database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    monkeypatch.setenv("DATABASE_URL", empty_database.render_as_string(hide_password=False))

    refused, migrated, ingested = command("ingest"), command("migrate"), command("ingest")

    assert (refused.status, migrated.status, ingested.status) == (1, 0, 0)
    assert code_head() in refused.err
    assert "`twap-pipeline migrate`" in refused.err
    assert f"at head {code_head()}" in migrated.out


def test_check_prints_one_line_per_part(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1)])

    outcome = command("check")

    assert outcome.status == 0
    assert [line.split()[:2] for line in outcome.out.splitlines()] == [
        ["ok", name] for name in ("database", "revision", "drift", "source", "definitions")
    ]


def test_check_with_drift_fails_and_runs_the_other_parts(command: Command, bucket: Bucket, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX twap_status_asset_idx"))

    outcome = command("check")

    assert outcome.status == 1
    assert "FAIL  drift        1 differences from the declared tables" in outcome.out
    assert "ok    definitions" in outcome.out


def test_audit_finds_deleted_row(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1), event(2)])
    command("ingest")
    before = command("audit")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM twap_status WHERE twap_id = '2'"))

    after = command("audit")

    assert (before.status, after.status) == (0, 1)
    assert "row_count_mismatch" in after.out


def test_audit_requeue_repairs_changed_row(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1), event(2)])
    command("ingest")
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET size_requested = 11 WHERE twap_id = '2'"))

    shallow, deep, requeued = command("audit"), command("audit", "--deep"), command("audit", "--requeue")
    ingested, repaired = command("ingest"), command("audit", "--deep")

    assert [outcome.status for outcome in (shallow, deep, requeued, ingested, repaired)] == [0, 1, 1, 0, 0]
    assert "order 2 at 2025-08-20 12:00:00.123456+00: size_requested" in deep.out
    assert "requeued 1 objects" in requeued.out
    assert "requeued 1 objects" not in deep.out


def test_deep_audit_over_budget_exits_with_status_1(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    command("ingest")
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_RUN", "1")

    outcome = command("audit", "--deep")

    assert outcome.status == 1
    assert "TWAP_MAX_BYTES_PER_RUN allows 1" in outcome.err


def test_audit_reports_deleted_object_with_status_0(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])
    command("ingest")
    (bucket.directory / key("a")).unlink()

    outcome = command("audit")

    assert outcome.status == 0
    assert "deleted_from_source (1)" in outcome.out
    assert key("a") in outcome.out


def test_discover_prints_key_pattern_mapping_and_cost(command: Command, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])

    outcome = command("discover")

    assert outcome.status == 0
    for part in ("1 objects", "1 LIST requests", "state_executedSz", "size_executed", "2025-08-20"):
        assert part in outcome.out
    assert "objects not ingested" not in outcome.out


@pytest.mark.fault("D9", "D12")
def test_discover_counts_objects_that_are_not_ingested(command: Command, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put("hourly/2025/01/05/12/old.parquet", [event(2)])
    for name in ("x_$folder$", "manifest.json", "_SUCCESS"):
        (bucket.directory / name).touch()

    outcome = command("discover")

    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["2", *["name", "does", "not", "match", "TWAP_OBJECT_PATTERN", "manifest.json,", "x_$folder$"]] in lines
    assert ["1", *["a", "path", "segment", "starts", "with", "_", "or", ".", "_SUCCESS"]] in lines
    assert ["1", *["before", "TWAP_START_DATE", "(2025-08-17)", "hourly/2025/01/05/12/old.parquet"]] in lines


def test_invalid_setting_error_names_the_variable(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_START_DATE", "yesterday")

    outcome = command("check")

    assert outcome.status == 1
    assert "TWAP_START_DATE" in outcome.err


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
    """The ingested days are those that are partitions: TWAP_START_DATE applies to the sample, too."""
    generate_sample(tmp_path / "sample", SMALL)
    ingested: list[date] = []

    def run_ingest(*_: object, plans: dict[date, Plan], **__: object) -> list[str]:
        ingested.extend(day for day, plan in plans.items() if plan.pending)
        return []

    monkeypatch.setattr(dagster_runs, "run_ingest", run_ingest)
    for name in ("run_refresh", "run_checks"):
        monkeypatch.setattr(dagster_runs, name, lambda _: None)
    settings = Settings(DATABASE_URL=None, TWAP_HOME=tmp_path, TWAP_START_DATE=date(2025, 8, 18))

    dev._ingest_sample(settings, engine)

    assert sorted(ingested) == [date(2025, 8, 18), date(2025, 8, 19)]
    assert (
        "sample data from 2025-08-17 to 2025-08-20 00:00 UTC; for newer sample data stop all commands, delete the"
        f" folders postgres, sample and dagster in {tmp_path}, and run again\n" in capsys.readouterr().out
    )


@pytest.mark.timeout(600)
def test_demo_twice_gives_the_same_content_checksum() -> None:
    with reachable_directory() as home:
        first, second = demo(home), demo(home)

    assert (first.status, second.status) == (0, 0)
    assert "order " in first.out
    assert checksum_line(first) == checksum_line(second)
    assert re.search(r"^file:\S+: 0 of 1\d\d objects are new$", second.out, re.MULTILINE)
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


@pytest.fixture
def restored_interrupt() -> Iterator[None]:
    """Commands ignore further interrupts after the first one."""
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.usefixtures("restored_interrupt")
@pytest.mark.parametrize("name", ["downloaded", "mid-copy", "after-commit"])
def test_ingest_interrupted_is_one_line(command: Command, bucket: Bucket, engine: Engine, name: FailpointName) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])

    with activate_failpoint(name, lambda: os.kill(os.getpid(), signal.SIGINT)):
        interrupted = command("ingest")

    assert (interrupted.status, interrupted.err.splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in interrupted.err
    assert command("ingest").status == 0
    assert order_ids(engine) == ["1", "2"]
