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

from twap_pipeline.domain.object_ref import object_day
from twap_pipeline.failpoints import Point, armed
from twap_pipeline.ingest.loading import ingest_object
from twap_pipeline.storage.database import make_engine, parse_database_url
from twap_pipeline.storage.embedded import EmbeddedPostgres
from twap_pipeline.storage.embedded.watcher import find_postmaster
from twap_pipeline.storage.migrations import upgrade
from twap_pipeline_tests.broken_builds import (
    ledger_in_a_transaction_of_its_own,
    ledger_that_is_not_asked,
    shown_to_fail,
)
from twap_pipeline_tests.conftest import reachable_directory
from twap_pipeline_tests.crashing import crash
from twap_pipeline_tests.dagster_web import until
from twap_pipeline_tests.loader import loader
from twap_pipeline_tests.objects import Bucket, event
from twap_pipeline_tests.oracle import CleanHash, Scene, assert_nobody_left, take_everything
from twap_pipeline_tests.tcp_proxy import TcpProxy, tcp_proxy

_COUNTED_AND_THERE = """
SELECT s3_object_key, coalesce(rows_ingested, 0), coalesce(there, 0) FROM etl_s3_ingest_log
FULL JOIN (SELECT s3_object_key, count(*) AS there FROM twap_status GROUP BY 1) AS of_object USING (s3_object_key)
"""


def loaded(scene: Scene) -> dict[str, tuple[int, int]]:
    """Return key → rows that the ledger counts, and rows that are there."""
    with scene.engine.connect() as connection:
        return {key: (counted, there) for key, counted, there in connection.execute(text(_COUNTED_AND_THERE))}


@pytest.mark.parametrize("point", ["downloaded", "mid-copy", "before-commit", "after-commit"])
def test_W1_a_loader_killed_at_any_step_leaves_rows_and_ledger_both_or_neither(scene: Scene, point: Point) -> None:
    with loader(scene, at=point) as killed:
        killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert_nobody_left(scene.engine)
    whichever_came_first = loaded(scene)
    assert len(whichever_came_first) == (1 if point == "after-commit" else 0)
    assert whichever_came_first.items() <= {"a.parquet": (499, 499), "b.parquet": (201, 201)}.items()

    take_everything(scene.store, scene.engine)

    scene.assert_sound()


def test_W1_control_with_the_ledger_in_a_transaction_of_its_own_rows_are_lost(scene: Scene) -> None:
    with shown_to_fail(ledger_in_a_transaction_of_its_own):
        test_W1_a_loader_killed_at_any_step_leaves_rows_and_ledger_both_or_neither(scene, "before-commit")


@pytest.fixture
def line(scene: Scene) -> Iterator[TcpProxy]:
    """A line to the server that can be disturbed."""
    assert scene.url.port is not None
    with tcp_proxy(scene.url.port) as line:
        yield line


@pytest.fixture
def far_engine(scene: Scene, line: TcpProxy) -> Iterator[Engine]:
    """An engine at the far end of `line`, connected."""
    engine = make_engine(scene.url.set(port=line.port))
    with engine.connect():
        pass
    yield engine
    engine.dispose()


def test_W2_a_commit_whose_answer_was_lost_on_the_line_counts_once(
    scene: Scene, far_engine: Engine, line: TcpProxy
) -> None:
    line.lose_the_answer_to(b"COMMIT")

    ref = next(scene.store.list_objects())
    done = ingest_object(scene.store, far_engine, ref, object_day(ref))

    assert line.lost_answers == 1
    assert done.error is None
    assert loaded(scene) == {"a.parquet": (499, 499)}
    take_everything(scene.store, far_engine)
    scene.assert_sound()


def test_W2_control_a_retry_that_does_not_ask_the_ledger_counts_wrongly(
    scene: Scene, far_engine: Engine, line: TcpProxy
) -> None:
    with shown_to_fail(ledger_that_is_not_asked):
        test_W2_a_commit_whose_answer_was_lost_on_the_line_counts_once(scene, far_engine, line)


@pytest.mark.parametrize("statement", [b"pg_advisory_xact_lock", b"COPY", b"INSERT INTO etl_s3_ingest_log"])
def test_W2_a_line_cut_at_any_statement_is_taken_up_again(
    scene: Scene, far_engine: Engine, line: TcpProxy, statement: bytes
) -> None:
    line.lose_the_answer_to(statement)

    ref = next(scene.store.list_objects())
    ingest_object(scene.store, far_engine, ref, object_day(ref))

    assert line.lost_answers == 1
    assert loaded(scene) == {"a.parquet": (499, 499)}
    take_everything(scene.store, far_engine)
    scene.assert_sound()


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
def fragile_scene(server: Server, bucket: Bucket, clean_hash: CleanHash) -> Iterator[Scene]:
    """A scene on `server`; the clean run is made elsewhere."""
    engine = make_engine(server.url)
    upgrade(engine)
    yield Scene(bucket, engine, clean_hash)
    engine.dispose()


def test_W1_loaders_and_their_server_crash_at_random_points_again_and_again_and_nothing_is_lost(
    server: Server, fragile_scene: Scene
) -> None:
    happened = crash(fragile_scene, random.Random(20250817), 16, server.crash)

    assert happened["server stopped under two loaders"] == 4
    assert happened.total() >= 16
    fragile_scene.assert_sound()


@pytest.mark.parametrize("point", ["downloaded", "mid-copy", "before-commit", "after-commit"])
def test_W1_a_database_stopped_immediately_at_any_step_is_taken_up_again_unaided(
    server: Server, fragile_scene: Scene, point: Point
) -> None:
    fragile_scene.bucket.put("a.parquet", [event(twap_id) for twap_id in range(1, 500)])
    crashes: list[Point] = []

    def crash_once() -> None:
        if not crashes:
            crashes.append(point)
            server.crash()

    with armed(point, crash_once):
        done = take_everything(fragile_scene.store, fragile_scene.engine)

    assert crashes == [point]
    assert [one.error for one in done] == [None]
    assert loaded(fragile_scene) == {"a.parquet": (499, 499)}
    fragile_scene.assert_sound()
