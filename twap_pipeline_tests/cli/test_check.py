"""The command ``check``."""

from sqlalchemy import URL, Engine, text

from twap_pipeline_tests.cli.command_runner import Command, key
from twap_pipeline_tests.factories import Bucket, event


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
