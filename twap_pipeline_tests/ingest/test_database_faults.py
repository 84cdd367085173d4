"""A database that fills up, refuses connections or fails over: no row is lost or doubled."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.errors import DatabaseUnavailableError
from twap_pipeline.failpoints import activate_failpoint
from twap_pipeline.ingest import retry
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.storage.engine.engine import make_engine, translate_connection_errors
from twap_pipeline_tests.databases import reachable_directory
from twap_pipeline_tests.factories import event
from twap_pipeline_tests.invariants import PipelineScenario, ingest_everything


def full_disk(scenario: PipelineScenario) -> None:
    """Make the server raise disk_full for every row after the 200th."""
    scenario.run(
        """
        CREATE SEQUENCE rows_so_far;
        CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF nextval('rows_so_far') > 200 THEN
            RAISE 'could not extend file "base/5/16384": No space left on device' USING ERRCODE = 'disk_full';
          END IF;
          RETURN NEW;
        END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON twap_status FOR EACH ROW EXECUTE FUNCTION no_space();
        """
    )


@pytest.mark.fault("W6")
def test_full_disk_is_rolled_back_and_not_retried(scenario: PipelineScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[str] = []
    full_disk(scenario)

    with (
        activate_failpoint("downloaded", lambda: attempts.append("download")),
        activate_failpoint("mid-copy", lambda: attempts.append("copy")),
        pytest.raises(DatabaseUnavailableError, match=r"No space left on device.*; free or add space on the server's"),
        translate_connection_errors(scenario.url),
    ):
        ingest_everything(scenario.store, scenario.engine)

    assert max(Counter(attempts).values()) <= 2  # one per object
    assert scenario.count("SELECT (SELECT count(*) FROM twap_status) + (SELECT count(*) FROM etl_s3_ingest_log)") == 0
    scenario.run("DROP TRIGGER full_disk ON twap_status")
    ingest_everything(scenario.store, scenario.engine)
    scenario.assert_invariants()


@pytest.fixture
def tiny_disk(scenario: PipelineScenario) -> Iterator[None]:
    """Move the table to a disk of one megabyte."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a disk; the test above makes the server raise the same error")
    owner = Path(scenario.text("SHOW data_directory")).stat()
    with reachable_directory() as folder:
        options = f"size=1m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", folder], check=False, capture_output=True
        )
        if mounted.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
        try:
            scenario.run_autocommit(f"CREATE TABLESPACE tiny LOCATION '{folder}'")
            scenario.run("ALTER TABLE twap_status SET TABLESPACE tiny")
            yield
        finally:
            scenario.run("ALTER TABLE twap_status SET TABLESPACE pg_default")
            scenario.run_autocommit("DROP TABLESPACE tiny")
            subprocess.run(["umount", folder], check=True)


@pytest.mark.fault("W6")
@pytest.mark.usefixtures("tiny_disk")
def test_really_full_disk_is_rolled_back_and_recovers(
    scenario: PipelineScenario,
) -> None:
    scenario.bucket.put("a.parquet", [event(twap_id) for twap_id in range(1, 6_000)])

    with (
        pytest.raises(DatabaseUnavailableError, match=r"No space left on device.*; free or add space on the server's"),
        translate_connection_errors(scenario.url),
    ):
        ingest_everything(scenario.store, scenario.engine)

    of_a = "WHERE s3_object_key = 'a.parquet'"
    assert (
        scenario.count(f"SELECT (SELECT count(*) FROM twap_status {of_a}) + count(*) FROM etl_s3_ingest_log {of_a}")
        == 0
    )
    scenario.run("ALTER TABLE twap_status SET TABLESPACE pg_default")
    ingest_everything(scenario.store, scenario.engine)
    scenario.assert_invariants()


@pytest.fixture
def limited_engine(scenario: PipelineScenario) -> Iterator[Engine]:
    """An engine of a role with one connection, which is not a superuser."""
    name = f"limited_{scenario.url.database}"
    scenario.run(f"CREATE ROLE {name} LOGIN PASSWORD 'limited' CONNECTION LIMIT 1")
    scenario.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    engine = make_engine(scenario.url.set(username=name, password="limited"))
    yield engine
    engine.dispose()


def run_in_pauses(monkeypatch: pytest.MonkeyPatch, *actions: Callable[[], object]) -> list[float]:
    """Run one action per pause between attempts, instead of waiting; return the pauses in seconds."""
    pauses: list[float] = []
    remaining = list(actions)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if remaining:
            remaining.pop(0)()

    monkeypatch.setattr(retry.with_retries, "sleep", pause)
    return pauses


def do_nothing() -> None:
    """Do nothing in a pause."""


@pytest.mark.fault("W7")
def test_too_many_connections_are_retried(
    scenario: PipelineScenario, limited_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_engine(limited_engine.url)
    with other.connect():
        pass  # the pool keeps the connection
    pauses = run_in_pauses(monkeypatch, do_nothing, do_nothing, other.dispose)

    first = next(scenario.store.list_objects())
    result = ingest_object(scenario.store, limited_engine, first, partition_date(first))

    assert result.row_counts == RowCounts(inserted=499)
    assert pauses == [0.2, 0.4, 0.8]
    ingest_everything(scenario.store, limited_engine)
    scenario.assert_invariants()


@pytest.mark.fault("W7")
def test_read_only_server_during_a_failover_is_retried(
    scenario: PipelineScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = scenario.url.database
    scenario.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    promote = (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        f"ALTER DATABASE {name} RESET default_transaction_read_only",
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    scenario.engine.dispose()
    pauses = run_in_pauses(monkeypatch, do_nothing, lambda: scenario.run_autocommit(*promote))

    ingest_everything(scenario.store, scenario.engine)

    assert set(pauses) <= {0.2, 0.4}
    assert len(pauses) >= 2
    scenario.assert_invariants()


@pytest.mark.fault("W7")
def test_retries_end_within_half_a_minute(
    scenario: PipelineScenario, limited_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = run_in_pauses(monkeypatch)
    with (
        limited_engine.connect(),
        pytest.raises(DatabaseUnavailableError, match=r"too many connections"),
        translate_connection_errors(limited_engine.url),
    ):
        ingest_object(scenario.store, limited_engine, next(scenario.store.list_objects()), scenario.bucket.day)

    assert len(pauses) == retry.TRANSACTION_ATTEMPTS - 1
    assert 20 < sum(pauses) < 30
