"""The command ``audit``."""

import json
import re

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from twap_pipeline.cli.audit import audit
from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.errors import BudgetExceededError, StatementTimeoutError
from twap_pipeline.ingest import audit as ingest_audit
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.factories import WALLET, Bucket, event
from twap_pipeline_tests.fill_factories import fill, fill_frame
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
    shallow, after = run("--json"), run("--json", "--requeue")

    assert (before.exit_code, shallow.exit_code, after.exit_code) == (0, 1, 1)
    assert json.loads(before.stdout) == {"has_errors": False, "objects_read": 0, "findings": [], "repair": None}
    printed = json.loads(after.stdout)
    assert [(finding["code"], finding["count"]) for finding in printed["findings"]] == [
        ("row_count_mismatch", 1),
        ("rows_missing", 1),
    ]
    assert (printed["objects_read"], printed["repair"]["requeued"]) == (1, ["a.parquet"])


def test_audit_requeue_prints_cost_findings_and_repair(engine: Engine, loaded: Bucket) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_status SET size_requested = 11 WHERE twap_id = '2'"))

    shallow, deep, requeued = run(), run("--deep"), run("--requeue")
    ingest_everything(LocalDirectory(loaded.directory), engine)
    repaired = run("--deep")

    assert [result.exit_code for result in (shallow, deep, requeued, repaired)] == [0, 1, 1, 0]
    for part in (
        "reading 1 objects",
        "rows_changed (1): rows differ from their objects",
        f"twap_id 2, wallet {WALLET}, ts 2025-08-20 12:00:00.123456+00: size_requested",
        "repair: requeued 1 objects; `twap-pipeline ingest` loads them again",
        "repair: deleted 1 rows and 0 quarantined rows",
        "repair: adjusted the ingest log's row sum by -1",
    ):
        assert part in requeued.stdout
    assert "repair:" not in deep.stdout
    assert "no differences: objects, listing of" in repaired.stdout


def test_audit_requeue_of_fills_names_the_data_set(
    engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWAP_FILLS_URL", bucket.directory.as_uri() + "/")
    monkeypatch.setenv("TWAP_FILLS_PREFIXES", "fills/")
    bucket.put_frame("fills/date=2025-08-20/a.parquet", fill_frame(fill(1), fill(2)))
    arguments = ("--data-set", "twap_fills")
    before = run(*arguments)
    ingest_everything(LocalDirectory(bucket.directory), engine, TWAP_FILLS)
    with engine.begin() as connection:
        connection.execute(text("UPDATE twap_fills SET fee = 9 WHERE trade_id = '2'"))

    requeued = run(*arguments, "--requeue")

    assert (before.exit_code, requeued.exit_code) == (1, 1)
    assert "run `twap-pipeline ingest --data-set twap_fills`" in before.stdout
    assert f"rows, for example trade_id 2, wallet {WALLET}: fee\n" in requeued.stdout
    assert "`twap-pipeline ingest --data-set twap_fills` loads them again" in requeued.stdout


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


def test_deep_audit_over_budget_names_the_setting(loaded: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_MAX_BYTES_PER_RUN", "1")

    with pytest.raises(BudgetExceededError, match="TWAP_MAX_BYTES_PER_RUN allows 1"):
        run("--deep")


def test_audit_reports_deleted_object_with_status_0(engine: Engine, loaded: Bucket) -> None:
    loaded.put("b.parquet", [event(3)])
    ingest_everything(LocalDirectory(loaded.directory), engine)
    (loaded.directory / "a.parquet").unlink()

    outcome = run()

    assert outcome.exit_code == 0
    assert "deleted_from_source (1)" in outcome.stdout
    assert "a.parquet" in outcome.stdout
