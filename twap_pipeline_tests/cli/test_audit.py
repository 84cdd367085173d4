"""The command ``audit``."""

import json
import re

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import URL, Engine, text

from twap_pipeline.cli.audit import audit
from twap_pipeline.errors import StatementTimeoutError
from twap_pipeline.ingest import audit as ingest_audit
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.cli.command_runner import Command, key
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import ingest_everything


@pytest.fixture
def loaded(engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A configured source with one loaded object of two events."""
    monkeypatch.setenv("TWAP_SOURCE_URL", bucket.directory.as_uri() + "/")
    bucket.put("a.parquet", [event(1), event(2)])
    ingest_everything(LocalDirectory(bucket.directory), engine)
    return bucket


def run(*arguments: str) -> Result:
    return CliRunner().invoke(audit, arguments, catch_exceptions=False)


def test_audit_json_is_one_object(engine: Engine, loaded: Bucket) -> None:
    before = run("--json")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM twap_status WHERE twap_id = '2'"))
    after = run("--json", "--requeue")

    assert (before.exit_code, after.exit_code) == (0, 1)
    assert json.loads(before.stdout) == {"has_errors": False, "objects_read": 0, "findings": [], "repair": None}
    printed = json.loads(after.stdout)
    assert [(finding["code"], finding["count"]) for finding in printed["findings"]] == [
        ("row_count_mismatch", 1),
        ("rows_missing", 1),
    ]
    assert (printed["objects_read"], printed["repair"]["requeued"]) == (1, ["a.parquet"])


def test_audit_text_shows_cost_findings_and_repair(engine: Engine, loaded: Bucket) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET side = 'A' WHERE twap_id = '2'"))

    result = run("--requeue")

    assert result.exit_code == 1
    for part in (
        "reading 1 objects",
        "rows_changed (1): rows differ from their objects",
        "repair: requeued 1 objects",
        "repair: deleted 1 rows and 0 quarantined rows",
        "repair: adjusted the ingest log's row sum by -1",
    ):
        assert part in result.stdout


def test_audit_of_many_findings_prints_first_and_count(
    engine: Engine, loaded: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command knows the number of all, and fewer examples."""
    monkeypatch.setattr(ingest_audit, "EXAMPLES_MAX", 30)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO etl_s3_ingest_log SELECT to_char(n, 'FM0000'), now(), 0, NULL, now() FROM "
                "generate_series(1, 1234) AS n"
            )
        )

    text_lines, report = run().stdout.splitlines(), json.loads(run("--json").stdout)

    assert text_lines[0] == "deleted_from_source (1,234): loaded objects are no longer listed; their rows stay"
    assert text_lines[1:22] == [*(f"  {number:04}" for number in range(1, 21)), "  … and 1,214 more"]
    (finding,) = report["findings"]
    assert (finding["count"], len(finding["examples"])) == (1234, 30)


def test_audit_prints_its_steps_on_standard_error(engine: Engine, loaded: Bucket) -> None:
    result = run("--deep", "--json")

    for step in (
        "comparing the listing, the ingest log and the row counts",
        "comparing 1 objects with the stored rows",
    ):
        assert re.search(rf"^{step}: \d+\.\d s$", result.stderr, re.MULTILINE)
    assert json.loads(result.stdout)["objects_read"] == 1


def test_audit_over_timeout_names_task_and_setting(
    engine: Engine, loaded: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another session locks the table, so that the statements of the audit wait."""
    monkeypatch.setenv("TWAP_MAINTENANCE_TIMEOUT_SECONDS", "0.2")
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE twap_status"))

        with pytest.raises(
            StatementTimeoutError, match=r"^audit of the row counts: .*TWAP_MAINTENANCE_TIMEOUT_SECONDS"
        ):
            run()


def test_audit_without_differences_exits_with_status_0(engine: Engine, loaded: Bucket) -> None:
    result = run("--deep")

    assert result.exit_code == 0
    assert "no differences: objects, listing of" in result.stdout


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
