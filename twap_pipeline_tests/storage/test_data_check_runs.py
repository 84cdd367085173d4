"""Stored results of the data checks: which dates a run evaluates, and when a result is not used any more."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.ingest.deep_audit import deep_audit
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit import data_check_runs
from twap_pipeline.storage.audit.data_check_runs import VIOLATING_DATES_PER_RUN, CheckResult, run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS, CheckScope
from twap_pipeline.storage.ingest_log import requeue
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything

BY_NAME = {check.name: check for check in CHECKS}
STORED = [check for check in CHECKS if check.scope is not CheckScope.LOG]
SIZES, ORDERS, ENDS = (
    BY_NAME[name] for name in ("executed_size_lte_requested", "orders_match_events", "terminal_event_rate")
)
NEXT_DAY = DAY + timedelta(days=1)
TOO_LARGE = "UPDATE twap_status SET size_executed = 11 WHERE twap_id = '1'"


def load(engine: Engine, bucket: Bucket, day: date, rows: list[dict[str, object]], name: str = "a") -> None:
    """Load an object of a day, and refresh its orders."""
    key = object_key(day, name)
    bucket.put(key, rows)
    store = LocalDirectory(bucket.directory)
    ingest_objects(store, engine, [ref for ref in store.list_objects() if ref.key == key], day)
    refresh(engine, day)


def object_key(day: date, name: str = "a") -> str:
    return f"hourly/{day:%Y/%m/%d}/12/{name}.parquet"


def refresh(engine: Engine, day: date, *, recompute: bool = False) -> None:
    with engine.begin() as connection:
        refresh_orders(connection, day, recompute=recompute)


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def run(engine: Engine, *names: str, is_full: bool = False) -> list[CheckResult]:
    checks = [BY_NAME[name] for name in names or (SIZES.name,)]
    return [result for _, result in run_checks(engine, checks, is_full=is_full)]


def evaluated(engine: Engine) -> dict[str, int]:
    """Run the checks with stored results; return check → number of evaluated dates, without those of 0."""
    return {
        check.name: result.evaluated_dates for check, result in run_checks(engine, STORED) if result.evaluated_dates
    }


@pytest.fixture
def two_days(engine: Engine, bucket: Bucket) -> Engine:
    """Two days with an order each, the check `SIZES` evaluated."""
    load(engine, bucket, DAY, [event(1), event(1, status="finished", minute=30, executed="10")])
    load(engine, bucket, NEXT_DAY, [event(2)])
    run(engine)
    return engine


@pytest.fixture
def evaluated_days(two_days: Engine) -> Engine:
    """Two days with an order each, all checks evaluated."""
    list(run_checks(two_days, STORED))
    return two_days


def test_checks_of_unchanged_days_are_not_evaluated(evaluated_days: Engine) -> None:
    assert evaluated(evaluated_days) == {}


def test_first_run_evaluates_every_day_and_rows_without_one(engine: Engine, bucket: Bucket) -> None:
    load(engine, bucket, DAY, [event(1)])
    load(engine, bucket, NEXT_DAY, [event(2)])

    dates = {CheckScope.DAY: 3, CheckScope.TABLE: 1}
    expected = {check.name: dates[check.scope] for check in STORED}
    assert evaluated(engine) == expected | {"terminal_event_rate": 1}  # no date is seven days old


def test_load_of_one_object_evaluates_its_day(evaluated_days: Engine, bucket: Bucket) -> None:
    load(evaluated_days, bucket, NEXT_DAY, [event(3)], name="b")

    assert set(evaluated(evaluated_days).values()) == {1}


@pytest.mark.parametrize("change", ["failed load", "requeue", "refresh"])
def test_change_of_log_entry_evaluates_its_day(two_days: Engine, bucket: Bucket, change: str) -> None:
    if change == "failed load":
        (bucket.directory / object_key(DAY)).write_bytes(b"not parquet")
        ingest_everything(LocalDirectory(bucket.directory), two_days)
    elif change == "requeue":
        with two_days.begin() as connection:
            requeue(connection, [object_key(DAY)], "because")
    else:
        refresh(two_days, DAY, recompute=True)

    assert run(two_days)[0].evaluated_dates == 1


def test_violation_of_old_day_stays_in_result(two_days: Engine, bucket: Bucket) -> None:
    load(two_days, bucket, DAY, [event(3, status="finished", executed="11")], name="b")
    run(two_days)
    load(two_days, bucket, NEXT_DAY, [event(4, status="finished", executed="12")], name="c")

    (result,) = run(two_days)

    assert result.count == 2
    assert result.columns == ("object_date", "twap_id", "wallet", "ts", "size_executed", "size_requested")
    assert [(day, twap_id) for day, twap_id, *_ in result.examples] == [(str(NEXT_DAY), "4"), (str(DAY), "3")]


def test_violation_that_was_corrected_by_hand_disappears(two_days: Engine) -> None:
    execute(two_days, TOO_LARGE)
    assert run(two_days, is_full=True)[0].count == 2
    execute(two_days, "UPDATE twap_status SET size_executed = 10 WHERE twap_id = '1'")

    (result,) = run(two_days)

    assert (result.count, result.evaluated_dates) == (0, 1)


def test_violating_days_of_a_run_are_bounded_and_rotate(engine: Engine, bucket: Bucket) -> None:
    execute(
        engine,
        "INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, object_date)"
        " SELECT n, now(), now(), '2025-01-01'::date + n FROM generate_series(1, 40) AS n",
    )
    execute(
        engine,
        "INSERT INTO twap_status (twap_id, wallet, ts, size_requested, size_executed, s3_object_key)"
        " SELECT n, 'w', '2025-01-01', 1, 2, n FROM generate_series(1, 40) AS n",
    )
    assert run(engine)[0].count == 40
    execute(engine, "UPDATE twap_status SET size_executed = 1")

    results = [run(engine)[0] for _ in range(3)]

    assert [result.evaluated_dates for result in results] == [VIOLATING_DATES_PER_RUN, 40 - VIOLATING_DATES_PER_RUN, 0]
    assert [result.count for result in results] == [40 - VIOLATING_DATES_PER_RUN, 0, 0]


def test_full_run_finds_rows_that_were_edited_by_hand(evaluated_days: Engine) -> None:
    execute(evaluated_days, TOO_LARGE)
    execute(evaluated_days, "DELETE FROM twap_status WHERE twap_id = '2'")
    names = (SIZES.name, "row_count_matches_ingest_log", ORDERS.name)
    assert [result.count for result in run(evaluated_days, *names)] == [0, 0, 0]

    results = run(evaluated_days, *names, is_full=True)

    assert [result.count for result in results] == [2, 1, 2], "order 1 differs, order 2 has no event"
    assert [result.count for result in run(evaluated_days, *names)] == [2, 1, 2], "the stored results are replaced"


def test_check_of_whole_table_is_evaluated_once_per_day(evaluated_days: Engine) -> None:
    execute(evaluated_days, "DELETE FROM twap_status WHERE twap_id = '2'")
    assert run(evaluated_days, "row_count_matches_ingest_log")[0].evaluated_dates == 0
    execute(evaluated_days, "UPDATE etl_data_check_results SET input_digest = left(input_digest, 16) || ' 2025-08-20'")

    (result,) = run(evaluated_days, "row_count_matches_ingest_log")

    assert result.examples == (("3", "2"),)


def test_load_that_commits_during_evaluation_is_evaluated(two_days: Engine, bucket: Bucket) -> None:
    """The digest of the log is read before the rows, whose digest a concurrent load changes."""
    results = run_checks(two_days, [BY_NAME["no_parked_objects"], SIZES])
    next(results)
    load(two_days, bucket, DAY, [event(3, status="finished", executed="11")], name="b")
    list(results)

    assert run(two_days)[0].count == 1


def test_result_of_another_definition_is_not_used(two_days: Engine) -> None:
    changed = replace(SIZES, prepare=("SELECT 1",))

    ((_, result),) = run_checks(two_days, [changed])

    assert result.evaluated_dates == 3


def test_killed_run_continues_after_the_last_date(two_days: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_check_runs, "_LOG_INTERVAL_SECONDS", 0)
    execute(two_days, "DELETE FROM etl_data_check_results")

    def interrupt(line: str) -> None:
        if "2 of 3 dates" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_checks(two_days, [SIZES], log=interrupt))

    assert run(two_days)[0].evaluated_dates == 1


def test_pending_orders_are_not_compared(two_days: Engine, bucket: Bucket) -> None:
    bucket.put(object_key(DAY, "b"), [event(2, status="finished", minute=30), event(5)])
    ingest_everything(LocalDirectory(bucket.directory), two_days)
    assert run(two_days, ORDERS.name)[0].count == 0
    refresh(two_days, DAY)
    execute(two_days, "DELETE FROM twap_orders WHERE twap_id = '5'")

    (result,) = run(two_days, ORDERS.name)

    assert [(twap_id, difference) for _, twap_id, _, difference in result.examples] == [("5", "missing")]


def test_days_without_ended_orders_are_evaluated_after_a_week(engine: Engine, bucket: Bucket) -> None:
    load(engine, bucket, DAY, [event(number) for number in range(6)])
    load(engine, bucket, DAY + timedelta(days=7), [event(10)])
    assert run(engine, ENDS.name)[0].count == 0
    load(engine, bucket, DAY + timedelta(days=8), [event(11)])

    (result,) = run(engine, ENDS.name)

    assert result.examples == ((str(DAY), str(DAY), "6", "0"),)
    assert result.evaluated_dates == 1


def test_repair_discards_results_only_if_it_changed_rows(two_days: Engine, bucket: Bucket) -> None:
    store = LocalDirectory(bucket.directory)
    deep_audit(store, two_days, list(store.list_objects()), requeue=True)
    assert run(two_days)[0].evaluated_dates == 0
    execute(
        two_days,
        "INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key)"
        f" VALUES ('9', 'w', '2025-08-20', '{object_key(DAY)}')",
    )
    deep_audit(store, two_days, list(store.list_objects()), requeue=True)

    assert run(two_days)[0].evaluated_dates == 3


def test_full_run_logs_last_duration_and_progress(two_days: Engine) -> None:
    lines: list[str] = []

    list(run_checks(two_days, [SIZES], is_full=True, log=lines.append))

    assert lines[0] == "full evaluation of 1 checks over 2 dates; last duration: 0 seconds"
    assert lines[1].startswith("executed_size_lte_requested: 3 of 3 dates, ")
