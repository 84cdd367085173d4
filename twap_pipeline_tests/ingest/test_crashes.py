"""Loaders that die or freeze at every step, or lose their line to PostgreSQL: both rows and ledger entry, or neither.

Real processes are killed at named points, a real line is cut. Each test ends in the oracle.
"""

import signal
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.failpoints import Point
from twap_pipeline.ingest.loading import ingest_object
from twap_pipeline.storage.database import make_engine
from twap_pipeline_tests.broken_builds import (
    ledger_in_a_transaction_of_its_own,
    ledger_that_is_not_asked,
    shown_to_fail,
)
from twap_pipeline_tests.loader import loader
from twap_pipeline_tests.oracle import Scene, assert_nobody_left, take_everything
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

    done = ingest_object(scene.store, far_engine, next(scene.store.list_objects()), scene.bucket.day)

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

    ingest_object(scene.store, far_engine, next(scene.store.list_objects()), scene.bucket.day)

    assert line.lost_answers == 1
    assert loaded(scene) == {"a.parquet": (499, 499)}
    take_everything(scene.store, far_engine)
    scene.assert_sound()
