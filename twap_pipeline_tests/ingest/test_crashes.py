"""Loaders that die or freeze at every step, or lose their line to PostgreSQL: both rows and ledger entry, or neither.

Real processes are killed at named points, a real line is cut. Each test ends in the oracle.
"""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline.failpoints import FailpointName, activate_failpoint
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.conftest import reachable_directory
from twap_pipeline_tests.crash_rounds import crash
from twap_pipeline_tests.dagster_client import until
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import ExpectedHash, PipelineScenario, assert_no_open_sessions, ingest_everything
from twap_pipeline_tests.loader_process import loader
from twap_pipeline_tests.mutants import expect_failure, ledger_in_a_transaction_of_its_own, ledger_that_is_not_asked
from twap_pipeline_tests.tcp_proxy import TcpProxy, tcp_proxy

_COUNTED_AND_THERE = """
SELECT s3_object_key, coalesce(rows_ingested, 0), coalesce(there, 0) FROM etl_s3_ingest_log
FULL JOIN (SELECT s3_object_key, count(*) AS there FROM twap_status GROUP BY 1) AS of_object USING (s3_object_key)
"""


def loaded(scenario: PipelineScenario) -> dict[str, tuple[int, int]]:
    """Return key → rows that the ledger counts, and rows that are there."""
    with scenario.engine.connect() as connection:
        return {key: (counted, there) for key, counted, there in connection.execute(text(_COUNTED_AND_THERE))}


@pytest.mark.fault("W1")
@pytest.mark.parametrize("point", ["downloaded", "mid-copy", "before-commit", "after-commit"])
def test_a_loader_killed_at_any_step_leaves_rows_and_ledger_both_or_neither(
    scenario: PipelineScenario, point: FailpointName
) -> None:
    with loader(scenario, at=point) as killed:
        killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert_no_open_sessions(scenario.engine)
    whichever_came_first = loaded(scenario)
    assert len(whichever_came_first) == (1 if point == "after-commit" else 0)
    assert whichever_came_first.items() <= {"a.parquet": (499, 499), "b.parquet": (201, 201)}.items()

    ingest_everything(scenario.store, scenario.engine)

    scenario.assert_invariants()


@pytest.mark.fault("W1", control=True)
def test_with_the_ledger_in_a_transaction_of_its_own_rows_are_lost_on_broken_build(scenario: PipelineScenario) -> None:
    with expect_failure(ledger_in_a_transaction_of_its_own):
        test_a_loader_killed_at_any_step_leaves_rows_and_ledger_both_or_neither(scenario, "before-commit")


@pytest.fixture
def line(scenario: PipelineScenario) -> Iterator[TcpProxy]:
    """A line to the server that can be disturbed."""
    assert scenario.url.port is not None
    with tcp_proxy(scenario.url.port) as line:
        yield line


@pytest.fixture
def far_engine(scenario: PipelineScenario, line: TcpProxy) -> Iterator[Engine]:
    """An engine at the far end of `line`, connected."""
    engine = make_engine(scenario.url.set(port=line.port))
    with engine.connect():
        pass
    yield engine
    engine.dispose()


@pytest.mark.fault("W2")
def test_a_commit_whose_answer_was_lost_on_the_line_counts_once(
    scenario: PipelineScenario, far_engine: Engine, line: TcpProxy
) -> None:
    line.lose_the_answer_to(b"COMMIT")

    ref = next(scenario.store.list_objects())
    done = ingest_object(scenario.store, far_engine, ref, partition_date(ref))

    assert line.lost_answers == 1
    assert done.error is None
    assert loaded(scenario) == {"a.parquet": (499, 499)}
    ingest_everything(scenario.store, far_engine)
    scenario.assert_invariants()


@pytest.mark.fault("W2", control=True)
def test_a_retry_that_does_not_ask_the_ledger_counts_wrongly_on_broken_build(
    scenario: PipelineScenario, far_engine: Engine, line: TcpProxy
) -> None:
    with expect_failure(ledger_that_is_not_asked):
        test_a_commit_whose_answer_was_lost_on_the_line_counts_once(scenario, far_engine, line)


@pytest.mark.fault("W2")
@pytest.mark.parametrize("statement", [b"pg_advisory_xact_lock", b"COPY", b"INSERT INTO etl_s3_ingest_log"])
def test_a_line_cut_at_any_statement_is_taken_up_again(
    scenario: PipelineScenario, far_engine: Engine, line: TcpProxy, statement: bytes
) -> None:
    line.lose_the_answer_to(statement)

    ref = next(scenario.store.list_objects())
    ingest_object(scenario.store, far_engine, ref, partition_date(ref))

    assert line.lost_answers == 1
    assert loaded(scenario) == {"a.parquet": (499, 499)}
    ingest_everything(scenario.store, far_engine)
    scenario.assert_invariants()


class Server:
    """A PostgreSQL that a test may crash.

    Args:
        directory: Where it lives.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = EmbeddedPostgres(directory)
        self.url = parse_database_url(self._server.start())

    def crash(self) -> None:
        """Do what ``pg_ctl stop -m immediate`` does, and start it again; it comes back on its old port."""
        data = (self._directory / "data").resolve()
        postmaster = find_postmaster(data)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGQUIT)
        until(lambda: find_postmaster(data) is None, 20, "the server is down")
        assert parse_database_url(self._server.start()) == self.url

    def close(self) -> None:
        """Stop it in order."""
        self._server.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this test alone."""
    with reachable_directory() as directory:
        server = Server(directory / "postgres")
        yield server
        server.close()


@pytest.fixture
def fragile_scene(server: Server, bucket: Bucket, expected_hash: ExpectedHash) -> Iterator[PipelineScenario]:
    """A scenario on `server`; the clean run is made elsewhere."""
    engine = make_engine(server.url)
    upgrade(engine)
    yield PipelineScenario(bucket, engine, expected_hash)
    engine.dispose()


@pytest.mark.fault("W1")
def test_loaders_and_their_server_crash_at_random_points_again_and_again_and_nothing_is_lost(
    server: Server, fragile_scene: PipelineScenario
) -> None:
    happened = crash(fragile_scene, random.Random(20250817), 16, server.crash)

    assert happened["server stopped under two loaders"] == 4
    assert happened.total() >= 16
    fragile_scene.assert_invariants()


@pytest.mark.fault("W1")
@pytest.mark.parametrize("point", ["downloaded", "mid-copy", "before-commit", "after-commit"])
def test_a_database_stopped_immediately_at_any_step_is_taken_up_again_unaided(
    server: Server, fragile_scene: PipelineScenario, point: FailpointName
) -> None:
    fragile_scene.bucket.put("a.parquet", [event(twap_id) for twap_id in range(1, 500)])
    crashes: list[FailpointName] = []

    def crash_once() -> None:
        if not crashes:
            crashes.append(point)
            server.crash()

    with activate_failpoint(point, crash_once):
        done = ingest_everything(fragile_scene.store, fragile_scene.engine)

    assert crashes == [point]
    assert [one.error for one in done] == [None]
    assert loaded(fragile_scene) == {"a.parquet": (499, 499)}
    fragile_scene.assert_invariants()
