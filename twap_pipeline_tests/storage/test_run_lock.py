"""The lock of a run: held while the run works, taken again after a lost session, released without the run's help."""

import pytest
from sqlalchemy import URL, Engine, text

from twap_pipeline.storage import run_lock as module
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.run_lock import database_identity, locked_runs, run_lock
from twap_pipeline_tests.dagster_client import until
from twap_pipeline_tests.pgbouncer import MISSING, pgbouncer
from twap_pipeline_tests.storage.catalog import connected
from twap_pipeline_tests.tcp_proxy import tcp_proxy

RUN = "0f7c8a52-6a0e-4b9a-8d3e-0123456789ab"
SESSIONS = "SELECT pid, backend_xmin FROM pg_stat_activity WHERE application_name = 'twap_pipeline_lock_0f7c8a52'"
SECONDS = 10.0


@pytest.fixture(autouse=True)
def frequent_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.02)


def is_locked(engine: Engine, run_id: str = RUN) -> bool:
    with engine.connect() as connection:
        return run_id in locked_runs(connection, [run_id, "another"])


def test_run_is_locked_in_the_block_only(engine: Engine) -> None:
    with run_lock(engine, RUN):
        until(lambda: is_locked(engine), SECONDS, "the run is locked")
        assert not is_locked(engine, "another")

    assert not is_locked(engine)


def test_lock_keeps_no_snapshot_that_delays_vacuum(engine: Engine) -> None:
    with run_lock(engine, RUN):
        until(lambda: is_locked(engine), SECONDS, "the run is locked")
        with engine.connect() as connection:
            ((_, snapshot),) = connection.execute(text(SESSIONS)).all()

    assert snapshot is None


def test_lock_of_lost_session_is_taken_again(engine: Engine) -> None:
    with run_lock(engine, RUN):
        until(lambda: is_locked(engine), SECONDS, "the run is locked")
        with engine.begin() as connection:
            ((before, _),) = connection.execute(text(SESSIONS)).all()
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": before})

        until(lambda: is_locked(engine), SECONDS, "the run is locked again")
        with engine.connect() as connection:
            ((after, _),) = connection.execute(text(SESSIONS)).all()

    assert after != before


def test_lock_of_unreachable_host_is_released(database: URL, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_TIMEOUT", "300ms")
    with (
        tcp_proxy(int(database.port or 0)) as proxy,
        connected(database.set(port=proxy.port)) as remote,
        run_lock(remote, RUN),
    ):
        until(lambda: is_locked(engine), SECONDS, "the run is locked")
        with proxy.frozen():
            until(lambda: not is_locked(engine), SECONDS, "the lock is released")
        until(lambda: is_locked(engine), SECONDS, "the run is locked again")


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_lock_behind_pooler_is_held_and_released(database: URL, engine: Engine, mode: str) -> None:
    with pgbouncer(database, mode) as pooler:
        pooled = make_engine(pooler)
        with run_lock(pooled, RUN):
            until(lambda: is_locked(engine), SECONDS, "the run is locked")
            assert is_locked(pooled)
        until(lambda: not is_locked(engine), SECONDS, "the lock is released")
        with pooled.connect() as through_pooler, engine.connect() as direct:
            assert database_identity(through_pooler) == database_identity(direct)
        pooled.dispose()


def test_identity_of_other_database_differs(engine: Engine, empty_database: URL) -> None:
    with connected(empty_database) as other, other.connect() as connection, engine.connect() as own:
        assert database_identity(connection) != database_identity(own)
