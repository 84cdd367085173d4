"""Loaders that are killed or stopped at every step or lose their connection: rows and log entry are stored, or neither.

Real processes get signals at failpoints, and real connections are cut. Each test ends with `assert_invariants`.
"""

import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline.errors import DatabaseUnavailableError
from twap_pipeline.failpoints import FailpointName, activate_failpoint
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.data_set_sql import compose
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.models import metadata
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.crash_rounds import crash
from twap_pipeline_tests.dagster_client import until
from twap_pipeline_tests.databases import reachable_directory
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.fill_factories import fill, fill_frame
from twap_pipeline_tests.invariants import ExpectedHash, PipelineScenario, assert_no_open_sessions, ingest_everything
from twap_pipeline_tests.loader_process import loader
from twap_pipeline_tests.mutants import expect_failure, ingest_log_ignored, separate_log_transaction
from twap_pipeline_tests.tcp_proxy import TcpProxy, tcp_proxy

_COUNTED_AND_STORED = """
SELECT s3_object_key, coalesce(rows_ingested, 0), coalesce(stored, 0) FROM etl_s3_ingest_log
FULL JOIN (SELECT s3_object_key, count(*) AS stored FROM {table} GROUP BY 1) AS of_object USING (s3_object_key)
"""

_WAITING_IN_COPY = """
SELECT coalesce(max(pid), 0) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND wait_event = 'ClientRead' AND query LIKE 'COPY%'
"""


def loaded(scenario: PipelineScenario, data_set: DataSet = TWAP_STATUS) -> dict[str, tuple[int, int]]:
    """Return key → rows counted in the ingest log, and rows stored. The log contains no other data set."""
    statement = text(compose(_COUNTED_AND_STORED, data_set))
    with scenario.engine.connect() as connection:
        return {key: (counted, stored) for key, counted, stored in connection.execute(statement)}


def put_fills(bucket: Bucket) -> None:
    """Replace the objects of `scenario` by fills: as many rows under the same keys, one of them shared."""
    bucket.put_frame("a.parquet", fill_frame(*map(fill, range(1, 500))))
    bucket.put_frame("b.parquet", fill_frame(*map(fill, range(499, 700))), hours=1)


@pytest.mark.fault("W1")
@pytest.mark.parametrize(
    ("data_set", "point"),
    [
        *((TWAP_STATUS, point) for point in ("downloaded", "mid-copy", "before-commit", "after-commit")),
        *((TWAP_FILLS, point) for point in ("mid-copy", "before-commit", "after-commit")),
    ],
    ids=lambda value: value.name if isinstance(value, DataSet) else value,
)
def test_killed_loader_leaves_rows_and_log_entry_or_neither(
    scenario: PipelineScenario, data_set: DataSet, point: FailpointName
) -> None:
    if data_set == TWAP_FILLS:
        put_fills(scenario.bucket)
    with loader(scenario, at=point, data_set=data_set) as killed:
        killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert_no_open_sessions(scenario.engine)
    loaded_before = loaded(scenario, data_set)
    assert len(loaded_before) == (1 if point == "after-commit" else 0)
    assert loaded_before.items() <= {"a.parquet": (499, 499), "b.parquet": (201, 201)}.items()

    ingest_everything(scenario.store, scenario.engine, data_set)

    if data_set == TWAP_STATUS:
        scenario.assert_invariants()
    else:
        report = run_audit(scenario.store, scenario.engine, since=scenario.bucket.day, deep=True, data_set=data_set)
        assert (report.findings, report.objects_read) == ([], 2)


@pytest.mark.fault("W1", control=True)
@pytest.mark.parametrize("data_set", [TWAP_STATUS, TWAP_FILLS], ids=lambda data_set: data_set.name)
def test_separate_log_transaction_mutant_is_detected(scenario: PipelineScenario, data_set: DataSet) -> None:
    with expect_failure(separate_log_transaction):
        test_killed_loader_leaves_rows_and_log_entry_or_neither(scenario, data_set, "before-commit")


def frozen_backend(scenario: PipelineScenario) -> int:
    """Wait for a session that waits for its client within COPY, and return its process id."""
    return until(lambda: scenario.count(_WAITING_IN_COPY), 90, "a loader freezes within COPY")


@pytest.mark.fault("W3")
def test_terminated_session_of_a_frozen_loader_cannot_commit(
    scenario: PipelineScenario,
) -> None:
    (scenario.bucket.directory / "b.parquet").unlink()  # the two objects share an event
    with loader(scenario, at="mid-copy", by=signal.SIGSTOP) as frozen, ThreadPoolExecutor(1) as thread:
        backend = frozen_backend(scenario)
        first = next(scenario.store.list_objects())
        waiting = thread.submit(ingest_object, scenario.store, scenario.engine, first, partition_date(first))
        scenario.run(f"SELECT pg_cancel_backend({backend})")
        assert frozen_backend(scenario) == backend, "a cancel is not enough"

        scenario.run(f"SELECT pg_terminate_backend({backend}, 5000)")

        assert waiting.result(20).row_counts == RowCounts(inserted=499)
        os.kill(frozen.pid or 0, signal.SIGCONT)
        frozen.join(20)
        assert frozen.exitcode == 0
    scenario.assert_invariants()


@pytest.mark.fault("W3")
def test_waiting_for_a_frozen_loader_times_out_with_a_hint(
    scenario: PipelineScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_log, "LOCK_WAIT_SECONDS", 0.3)
    (scenario.bucket.directory / "b.parquet").unlink()

    with loader(scenario, at="mid-copy", by=signal.SIGSTOP):
        frozen_backend(scenario)
        with pytest.raises(
            DatabaseUnavailableError, match=r"^[ab]\.parquet: another session has locked it for more than 0\.3 seconds"
        ):
            ingest_everything(scenario.store, scenario.engine)

    assert_no_open_sessions(scenario.engine)
    ingest_everything(scenario.store, scenario.engine)
    scenario.assert_invariants()


@pytest.fixture
def proxy(scenario: PipelineScenario) -> Iterator[TcpProxy]:
    """A proxy in front of the server."""
    assert scenario.url.port is not None
    with tcp_proxy(scenario.url.port) as proxy:
        yield proxy


@pytest.fixture
def proxied_engine(scenario: PipelineScenario, proxy: TcpProxy) -> Iterator[Engine]:
    """An engine that connects through the proxy, with one open connection."""
    engine = make_engine(scenario.url.set(port=proxy.port))
    with engine.connect():
        pass
    yield engine
    engine.dispose()


@pytest.mark.fault("W2")
def test_commit_with_a_lost_response_counts_once(
    scenario: PipelineScenario, proxied_engine: Engine, proxy: TcpProxy
) -> None:
    proxy.lose_response_to(b"COMMIT")

    ref = next(scenario.store.list_objects())
    result = ingest_object(scenario.store, proxied_engine, ref, partition_date(ref))

    assert proxy.lost_responses == 1
    assert result.error is None
    assert loaded(scenario) == {"a.parquet": (499, 499)}
    with scenario.engine.connect() as connection:
        assert ingest_log.bytes_read_today(connection) == ref.size_bytes
    ingest_everything(scenario.store, proxied_engine)
    scenario.assert_invariants()


@pytest.mark.fault("W2", control=True)
def test_ingest_log_ignored_mutant_is_detected(
    scenario: PipelineScenario, proxied_engine: Engine, proxy: TcpProxy
) -> None:
    with expect_failure(ingest_log_ignored):
        test_commit_with_a_lost_response_counts_once(scenario, proxied_engine, proxy)


@pytest.mark.fault("W2")
@pytest.mark.parametrize("statement", [b"pg_advisory_xact_lock", b"COPY", b"INSERT INTO etl_s3_ingest_log"])
def test_connection_lost_at_any_statement_is_retried(
    scenario: PipelineScenario, proxied_engine: Engine, proxy: TcpProxy, statement: bytes
) -> None:
    proxy.lose_response_to(statement)

    ref = next(scenario.store.list_objects())
    ingest_object(scenario.store, proxied_engine, ref, partition_date(ref))

    assert proxy.lost_responses == 1
    assert loaded(scenario) == {"a.parquet": (499, 499)}
    ingest_everything(scenario.store, proxied_engine)
    scenario.assert_invariants()


class Server:
    """A PostgreSQL that a test may crash.

    Args:
        directory: Its directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = EmbeddedPostgres(directory)
        self.url = parse_database_url(self._server.start())

    def crash(self) -> None:
        """Stop it like ``pg_ctl stop -m immediate``, and start it again on the same port."""
        data = (self._directory / "data").resolve()
        postmaster = find_postmaster(data)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGQUIT)
        until(lambda: find_postmaster(data) is None, 20, "the server is down")
        assert parse_database_url(self._server.start()) == self.url

    def close(self) -> None:
        """Stop it regularly."""
        self._server.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that only the tests of this module use, one after another."""
    with reachable_directory() as directory:
        server = Server(directory / "postgres")
        yield server
        server.close()


@pytest.fixture
def crashable_scenario(server: Server, bucket: Bucket, expected_hash: ExpectedHash) -> Iterator[PipelineScenario]:
    """A scenario in an empty database on `server`; the expected hash comes from another server."""
    engine = make_engine(server.url)
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)}"))
    yield PipelineScenario(bucket, engine, expected_hash)
    engine.dispose()


@pytest.mark.fault("W1")
def test_random_crashes_of_loaders_and_server_lose_nothing(
    server: Server, crashable_scenario: PipelineScenario
) -> None:
    events = crash(crashable_scenario, random.Random(20250817), 4, server.crash)

    assert events["server stopped under two loaders"] == 1
    assert events.total() >= 3
    crashable_scenario.assert_invariants()


@pytest.mark.fault("W1")
@pytest.mark.parametrize("point", ["downloaded", "mid-copy", "before-commit", "after-commit"])
def test_server_crash_at_any_step_is_retried(
    server: Server, crashable_scenario: PipelineScenario, point: FailpointName
) -> None:
    crashable_scenario.bucket.put("a.parquet", [event(twap_id) for twap_id in range(1, 500)])
    crashes: list[FailpointName] = []

    def crash_once() -> None:
        if not crashes:
            crashes.append(point)
            server.crash()

    with activate_failpoint(point, crash_once):
        results = ingest_everything(crashable_scenario.store, crashable_scenario.engine)

    assert crashes == [point]
    assert [result.error for result in results] == [None]
    assert loaded(crashable_scenario) == {"a.parquet": (499, 499)}
    crashable_scenario.assert_invariants()
