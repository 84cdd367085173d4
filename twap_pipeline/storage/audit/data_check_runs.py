"""Evaluates the data checks for the dates whose objects changed, and stores the results in ``etl_data_check_results``.

The result of a check is the sum over all dates. A date is evaluated if it has no result, or if the digest of its ingest
log entries differs from the digest that was read before the last evaluation: a load that commits in between therefore
leads to another evaluation. Rows that somebody edits by hand change no digest; only a full evaluation detects them.
Definitions of checks belong to `data_checks`.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select, text

from twap_pipeline.storage.audit.data_checks import CheckScope, TableCheck
from twap_pipeline.storage.data_set_sql import compose
from twap_pipeline.storage.long_statements import STATEMENT_TIMEOUT_SECONDS, correct_empty_statistics, statement_timeout
from twap_pipeline.storage.sql_files import load_queries

VIOLATING_DATES_PER_RUN = 31
"""Maximum dates with violations, and without changes, that a run evaluates again: a repair by hand ends a failure."""

NO_DATE = date.min
"""Stands for rows whose object has no date, and for checks of a whole table."""

_EXAMPLES = 10
_LOG_INTERVAL_SECONDS = 10.0
_QUERIES = load_queries("twap_pipeline.storage.audit", "data_check_runs.sql")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Violations of one check.

    Args:
        count: Number of violations.
        columns: Column names; empty if there are no violations.
        examples: Some violations, values as text: those of the newest dates first.
        evaluated_dates: Number of dates that the run evaluated; 0 for a check without stored results.
        oldest_result_at: Time of the oldest stored result that the count includes; None if there is none.
    """

    count: int
    columns: tuple[str, ...] = ()
    examples: tuple[tuple[str, ...], ...] = ()
    evaluated_dates: int = 0
    oldest_result_at: datetime | None = None


def run_checks(
    engine: Engine,
    checks: Sequence[TableCheck],
    *,
    is_full: bool = False,
    timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS,
    log: Callable[[str], object] = lambda _: None,
) -> Iterator[tuple[TableCheck, CheckResult]]:
    """Yield each check with its result. Each date is committed by itself: after a killed run, the others are pending.

    Args:
        engine: A database at head.
        checks: The checks to run.
        is_full: Evaluate every date and replace the stored results.
        timeout_seconds: Limit of each statement.
        log: Called with a line of progress.

    Raises:
        StatementTimeoutError: A statement reached the limit.
    """
    with _transaction(engine, timeout_seconds, "reading the state of the ingest log") as connection:
        digests_by_data_set = {
            name: {
                row.object_date: row.digest
                for row in connection.execute(text(_QUERIES["read_day_digests"]), {"data_set": name})
            }
            for name in sorted({check.data_set.name for check in checks})
        }
        if is_full:
            names = {"check_names": [check.name for check in checks]}
            duration_ms = connection.execute(text(_QUERIES["read_duration"]), names).scalar_one()
            dates = max(map(len, digests_by_data_set.values()), default=0)
            last = "unknown" if duration_ms is None else f"{duration_ms / 1000:.0f} seconds"
            log(f"full evaluation of {len(checks)} checks over {dates} dates; last duration: {last}")
    for check in checks:
        if check.scope is CheckScope.LOG:
            with _transaction(engine, timeout_seconds, f"check {check.name}") as connection:
                result = _evaluate(connection, check)
            yield check, result
        else:
            digests = _digests_of_check(check, digests_by_data_set[check.data_set.name])
            yield check, _run_stored(engine, check, digests, is_full=is_full, timeout_seconds=timeout_seconds, log=log)


def discard_results(connection: Connection) -> None:
    """Delete every stored result, in the transaction of a change that the ingest log does not show."""
    connection.execute(text(_QUERIES["discard_results"]))


def _digests_of_check(check: TableCheck, day_digests: Mapping[date, str]) -> dict[date, str]:
    """Return date → digest of what an evaluation of the check reads, for each date that the check has."""
    if check.scope is CheckScope.TABLE:
        loads = hashlib.sha256(repr(sorted(day_digests.items())).encode()).hexdigest() if check.follows_loads else ""
        return {NO_DATE: f"{check.digest} {datetime.now(UTC):%Y-%m-%d} {loads}"}
    if not day_digests:
        return {NO_DATE: check.digest}
    last = max(day_digests) - timedelta(days=check.delay_days)
    days = {day: f"{check.digest} {digest}" for day, digest in day_digests.items() if day <= last}
    return {NO_DATE: check.digest, **days}


def _run_stored(
    engine: Engine,
    check: TableCheck,
    digests: Mapping[date, str],
    *,
    is_full: bool,
    timeout_seconds: float,
    log: Callable[[str], object],
) -> CheckResult:
    """Evaluate the dates that need it, and return the sum of the stored results."""
    with engine.connect() as connection:
        pending = list(digests) if is_full else _pending_dates(_read_results(connection, check), digests)
    started = logged = time.monotonic()
    for number, day in enumerate(pending, start=1):
        name = f"check {check.name}" if day == NO_DATE else f"check {check.name} of {day}"
        with _transaction(engine, timeout_seconds, name) as connection:
            _store(connection, check, day, digests[day])
        now = time.monotonic()
        if number == len(pending) or now - logged >= _LOG_INTERVAL_SECONDS:
            log(f"{check.name}: {number} of {len(pending)} dates, {now - started:.1f} seconds")
            logged = now
    with engine.begin() as connection:
        connection.execute(text(_QUERIES["delete_other_results"]), {"check_name": check.name, "dates": list(digests)})
        results = _read_results(connection, check)
    examples = [example for result in results for example in result.examples][:_EXAMPLES]
    return CheckResult(
        sum(result.violations for result in results),
        tuple(examples[0]) if examples else (),
        tuple(tuple(example.values()) for example in examples),
        len(pending),
        min((result.checked_at for result in results), default=None),
    )


def _pending_dates(results: Sequence[Row[Any]], digests: Mapping[date, str]) -> list[date]:
    """Return the dates to evaluate: without a result of their digest, and the least recent ones with violations."""
    current = [result for result in results if digests.get(result.object_date) == result.input_digest]
    violating = sorted((result for result in current if result.violations), key=lambda result: result.checked_at)
    repeated = [result.object_date for result in violating[:VIOLATING_DATES_PER_RUN]]
    return sorted({*digests} - {result.object_date for result in current} | {*repeated})


def _read_results(connection: Connection, check: TableCheck) -> Sequence[Row[Any]]:
    """Return the stored results of a check, newest date first."""
    return connection.execute(text(_QUERIES["read_results"]), {"check_name": check.name}).all()


def _store(connection: Connection, check: TableCheck, day: date, digest: str) -> None:
    """Evaluate one date and store its result."""
    parameters: dict[str, object] = {
        "keys": [],
        "day": None if day == NO_DATE else day,
        "data_set": check.data_set.name,
    }
    if check.scope is CheckScope.DAY:
        query = _QUERIES["keys_without_date" if day == NO_DATE else "keys_of_day"]
        keys = text(compose(query, check.data_set))
        parameters["keys"] = connection.execute(keys, parameters).scalars().all()
    result = _evaluate(connection, check, parameters)
    date_column = {"object_date": "" if day == NO_DATE else str(day)} if check.scope is CheckScope.DAY else {}
    examples = [date_column | dict(zip(result.columns, example, strict=True)) for example in result.examples]
    values = {
        "check_name": check.name,
        "object_date": day,
        "input_digest": digest,
        "violations": result.count,
        "examples": json.dumps(examples),
    }
    connection.execute(text(_QUERIES["write_result"]), values)


def _evaluate(connection: Connection, check: TableCheck, parameters: Mapping[str, object] | None = None) -> CheckResult:
    """Return the violations that the check's query finds with these parameters."""
    for statement in check.prepare:
        connection.execute(text(statement), parameters)
    violations = text(check.violations_sql).columns().subquery("violations")
    count = func.count().over().label("violation_count")
    rows = connection.execute(select(text("*"), count).select_from(violations).limit(_EXAMPLES), parameters)
    columns, examples = tuple(rows.keys())[:-1], rows.all()
    if not examples:
        return CheckResult(0)
    return CheckResult(examples[0][-1], columns, tuple(tuple(map(str, example[:-1])) for example in examples))


@contextmanager
def _transaction(engine: Engine, timeout_seconds: float, task: str) -> Iterator[Connection]:
    """Yield a connection in a transaction with a statement timeout and usable table statistics."""
    with engine.begin() as connection, statement_timeout(connection, timeout_seconds, task):
        correct_empty_statistics(connection)
        yield connection
