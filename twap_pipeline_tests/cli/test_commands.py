"""The command as its users use it: what it prints, its exit status, and one clear line for each thing that is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline.cli import main
from twap_pipeline_tests.conftest import reachable_directory
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.s3_server import S3Server


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, bucket: Bucket
) -> Command:
    """Run ``twap-pipeline`` in this process, on the test's bucket unless it says otherwise."""
    monkeypatch.setenv("TWAP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["twap-pipeline", *arguments])
        status: object = 0
        try:
            main()
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        return Outcome(status if isinstance(status, int) else 0, said.out, said.err)

    return run


def key(name: str) -> str:
    return f"hourly/{DAY:%Y/%m/%d}/12/{name}.parquet"


def orders(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT twap_id FROM twap_orders ORDER BY 1")).scalars())


def test_ingest_brings_the_orders_up_to_the_rows_also_beside_a_bad_object(
    command: Command, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("a"), [event(1), event(1, status="finished", minute=30), event(2)])
    (bucket.directory / key("bad")).write_bytes(b"poison")

    assert command("ingest").status == 1

    assert orders(engine) == ["1", "2"]


def test_ingest_with_nothing_new_still_brings_orders_up_that_a_killed_run_left_behind(
    command: Command, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("a"), [event(1)])
    command("ingest")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM twap_orders"))
        connection.execute(text("UPDATE etl_s3_ingest_log SET orders_refreshed_at = NULL"))

    assert command("ingest").status == 0

    assert orders(engine) == ["1"]


def test_ingest_takes_what_is_new_and_then_nothing(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1), event(1, status="finished", minute=30)])

    first, second = command("ingest"), command("ingest")

    assert (first.status, second.status) == (0, 0)
    assert "1 objects taken, 0 failed, in 1 Dagster runs" in first.out
    assert "nothing new: 1 objects" in second.out
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one() == 2


def test_ingest_tells_a_failed_object_in_its_exit_status(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1)])
    (bucket.directory / key("bad")).write_bytes(b"this is no parquet")

    done = command("ingest")

    assert done.status == 1
    assert f"failed: {key('bad')}: is no readable parquet file" in done.err
    assert "1 objects taken, 1 failed" in done.out


def test_ingest_says_so_when_all_that_is_left_is_parked(command: Command, bucket: Bucket, database: URL) -> None:
    (bucket.directory / "hourly").mkdir()
    (bucket.directory / f"{DAY}.parquet").write_bytes(b"this is no parquet")
    for _ in range(3):
        command("ingest")

    done = command("ingest")

    assert done.status == 1
    assert f"parked after repeated failures, not taken (1): {DAY}.parquet" in done.err


def test_ingest_json_is_one_object_with_runs_rows_and_failures(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1), event(2, wallet="?")])

    said = json.loads(command("ingest", "--json").out)

    assert said["objects_taken"] == 1
    assert len(said["runs"]) == 1
    assert (said["rows"]["read"], said["rows"]["inserted"], said["rows"]["quarantined"]) == (2, 1, 1)
    assert said["failed"] == []


def test_a_dry_run_reads_and_writes_nothing(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])

    done = command("ingest", "--dry-run")

    assert done.status == 0
    assert "would take 1 objects of 1 days" in done.out
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM etl_s3_ingest_log")).scalar_one() == 0


@pytest.mark.fault("X1")
def test_a_dry_run_against_s3_sends_no_get(
    command: Command, bucket: Bucket, database: URL, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.parquet", [event(1)])
    s3.client().create_bucket(Bucket="twap")
    s3.client().upload_file(str(bucket.directory / "a.parquet"), "twap", f"raw/{DAY:%Y/%m/%d}/a.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.requests.clear()

    done = command("ingest", "--source", "s3://twap/raw/", "--dry-run", "--json")

    assert json.loads(done.out)["objects"] == 1
    assert s3.requests["GET"] == 0


def test_ingest_from_s3(
    command: Command, bucket: Bucket, engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.parquet", [event(1)])
    s3.client().create_bucket(Bucket="twap")
    s3.client().upload_file(str(bucket.directory / "a.parquet"), "twap", f"raw/{DAY:%Y/%m/%d}/a.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)

    done = command("ingest", "--source", "s3://twap/raw/")

    assert (done.status, done.err) == (0, "")
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT s3_object_key FROM twap_status")).scalar_one()
    assert stored == f"raw/{DAY:%Y/%m/%d}/a.parquet"


def test_one_object_by_its_key(command: Command, bucket: Bucket, engine: Engine) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])

    done = command("ingest", "--object-key", key("b"))

    assert done.status == 0
    with engine.connect() as connection:
        assert connection.execute(text("SELECT twap_id FROM twap_status")).scalars().all() == ["2"]


@pytest.mark.fault("X1")
def test_a_run_over_its_budget_fails_the_command(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_RUN", "10")

    done = command("ingest")

    assert done.status == 1
    assert "TWAP_MAX_BYTES_PER_RUN allows 10: nothing was read" in done.err


def test_the_sample_never_goes_into_a_configured_database(
    command: Command, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TWAP_SOURCE_URL")

    done = command("ingest")

    assert done.status == 1
    assert "made-up orders never go into a real database" in done.err


def test_days_before_the_start_date_are_left_alone(
    command: Command, bucket: Bucket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put("hourly/2025/01/05/12/old.parquet", [event(2)])

    taken, audited = command("ingest", "--since", "2025-01-01"), command("audit")

    assert (taken.status, audited.status) == (0, 0)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT twap_id FROM twap_status")).scalars().all() == ["1"]


@pytest.mark.parametrize("layout", ["(", "no-groups"])
def test_a_layout_that_cannot_be_used_is_one_clear_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    monkeypatch.setenv("TWAP_KEY_DATE_PATTERN", layout)

    done = command("discover")

    assert done.status == 1
    assert "TWAP_KEY_DATE_PATTERN" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ingest", "--since", "2024-01-01", "--until", "2024-02-01"], "no objects from 2024-01-01 to 2024-02-01"),
        (["ingest", "--object-key", "nowhere.parquet"], "lists no object 'nowhere.parquet'"),
        (["ingest", "--source", "file:///no/such/directory/"], "directory /no/such/directory does not exist"),
        (["ingest", "--source", "ftp://somewhere/"], "expected s3://bucket/prefix/ or file:///absolute/directory/"),
    ],
)
def test_a_range_or_source_without_objects_is_one_clear_line(
    command: Command, bucket: Bucket, database: URL, arguments: list[str], said: str
) -> None:
    bucket.put(key("a"), [event(1)])

    done = command(*arguments)

    assert done.status == 1
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_missing_bucket_and_a_refused_one_are_one_clear_line(
    command: Command, database: URL, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)

    missing = command("ingest", "--source", "s3://no-such-bucket/raw/")

    assert missing.status == 1
    assert "NoSuchBucket" in missing.err
    assert len(missing.err.splitlines()) == 1


@pytest.mark.fault("S1")
def test_a_bucket_that_refuses_for_want_of_requester_pays_is_one_clear_line(
    command: Command, engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.client().create_bucket(Bucket="twap")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.faults.append(refuse)

    done = command("ingest", "--source", "s3://twap/raw/")

    assert done.status == 1
    assert "LIST s3://twap/raw/: 403 AccessDenied" in done.err
    assert "requester-pays" in done.err
    assert len(done.err.splitlines()) == 1
    assert written(engine) == 0


def refuse(_request: Request, _response: Response) -> Response:
    return Response("<Error><Code>AccessDenied</Code></Error>", 403)


def written(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one())


@pytest.mark.fault("F3")
def test_an_object_without_a_required_column_fails_by_name_and_writes_no_row(
    command: Command, bucket: Bucket, engine: Engine
) -> None:
    row = event(1)
    del row["state_executedSz"]
    bucket.put(key("a"), [row])

    done = command("ingest")

    assert done.status == 1
    assert f"failed: {key('a')}: required columns ['state_executedSz'] are missing" in done.err
    assert written(engine) == 0


@pytest.mark.fault("X2")
def test_a_database_that_refuses_the_password_is_one_clear_line_without_it(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    wrong = database.set(password="canary")
    monkeypatch.setenv("DATABASE_URL", wrong.render_as_string(hide_password=False))

    done = command("ingest")

    assert done.status == 1
    assert "password authentication failed" in done.err
    assert len(done.err.splitlines()) == 1
    assert "canary" not in done.out + done.err


@pytest.mark.fault("X2")
@pytest.mark.parametrize("name", ["ingest", "audit", "migrate"])
def test_an_unreachable_database_is_one_clear_line_without_its_password(
    command: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bucket.put(key("a"), [event(1)])
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:canary-p@ss@127.0.0.1:9/twap")

    done = command(name)

    assert done.status == 1
    assert "cannot use the database postgresql://somebody:***@127.0.0.1:9/twap" in done.err
    assert "canary" not in done.out + done.err


def test_a_database_without_our_tables_is_refused_with_the_command_that_mends_it(
    command: Command, bucket: Bucket, empty_database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    monkeypatch.setenv("DATABASE_URL", empty_database.render_as_string(hide_password=False))

    refused, migrated, taken = command("ingest"), command("migrate"), command("ingest")

    assert (refused.status, migrated.status, taken.status) == (1, 0, 0)
    assert "has no tables of ours yet, this code needs 005: run `twap-pipeline migrate`" in refused.err
    assert "at head 005" in migrated.out


def test_check_is_a_line_for_each_part(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1)])

    done = command("check")

    assert done.status == 0
    assert [line.split()[:2] for line in done.out.splitlines()] == [
        ["ok", name] for name in ("database", "revision", "drift", "source", "definitions")
    ]


def test_check_fails_for_drift_and_still_tells_the_rest(command: Command, bucket: Bucket, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX twap_status_asset_idx"))

    done = command("check")

    assert done.status == 1
    assert "FAIL  drift        1 differences from the declared tables" in done.out
    assert "ok    definitions" in done.out


def test_audit_agrees_after_an_ingest_and_names_what_was_tampered_with(
    command: Command, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("a"), [event(1), event(2)])
    command("ingest")
    agreed = command("audit")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM twap_status WHERE twap_id = '2'"))

    disagreed = command("audit")

    assert (agreed.status, disagreed.status) == (0, 1)
    assert "listing of" in agreed.out
    assert "the ledger brought in 2 rows, the table holds 1" in disagreed.out


def test_an_audit_that_reads_tells_its_price_and_mends_on_request(
    command: Command, bucket: Bucket, engine: Engine
) -> None:
    bucket.put(key("a"), [event(1), event(2)])
    command("ingest")
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET size_requested = 11 WHERE twap_id = '2'"))

    shallow, deep, requeued = command("audit"), command("audit", "--deep"), command("audit", "--requeue")
    taken, agreed = command("ingest"), command("audit", "--deep")

    assert [done.status for done in (shallow, deep, requeued, taken, agreed)] == [0, 1, 1, 0, 0]
    assert "reads 1 objects" in deep.out
    assert "order 2 at 2025-08-20 12:00:00.123456+00: size_requested" in deep.out
    assert "requeued" not in deep.out
    assert "requeued 1 objects" in requeued.out
    assert "deleted 1 wrong rows" in requeued.out
    assert "objects, listing of" in agreed.out


def test_an_audit_that_would_read_more_than_it_may_reads_nothing(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    command("ingest")
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_RUN", "1")

    done = command("audit", "--deep")

    assert done.status == 1
    assert "TWAP_MAX_BYTES_PER_RUN allows 1: nothing was read" in done.err


def test_an_object_deleted_upstream_is_told_and_no_failure(command: Command, bucket: Bucket, database: URL) -> None:
    bucket.put(key("a"), [event(1)])
    bucket.put(key("b"), [event(2)])
    command("ingest")
    (bucket.directory / key("a")).unlink()

    done = command("audit")

    assert done.status == 0
    assert "gone (1)" in done.out
    assert key("a") in done.out


def test_discover_tells_layout_mapping_and_cost(command: Command, bucket: Bucket) -> None:
    bucket.put(key("a"), [event(1)])

    done = command("discover")

    assert done.status == 0
    for said in ("1 objects", "1 LIST requests", "state_executedSz", "size_executed", "2025-08-20"):
        assert said in done.out


def test_a_setting_that_cannot_be_read_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_START_DATE", "yesterday")

    done = command("check")

    assert done.status == 1
    assert "TWAP_START_DATE" in done.err


def test_the_demo_fills_a_database_of_its_own_and_a_second_one_changes_nothing() -> None:
    with reachable_directory() as home:
        first, second = demo(home), demo(home)

    assert (first.status, second.status) == (0, 0)
    assert "order " in first.out
    assert hash_line(first) == hash_line(second)
    assert "0 of 287 objects are new" in second.out


def demo(home: Path) -> Outcome:
    """Run it as a process of its own, so that its end is the end of its PostgreSQL too."""
    never = {"TWAP_HOME": str(home), "DATABASE_URL": "postgresql://never@127.0.0.1:9/touched"}
    command = [str(Path(sys.executable).with_name("twap-pipeline")), "demo"]
    done = subprocess.run(command, env={**os.environ, **never}, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def hash_line(outcome: Outcome) -> str:
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("table hash: ")]
    return line
