"""A database that waits for a frozen loader, fills up, refuses or fails over: nothing is lost, nothing is doubled."""

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine

from twap_pipeline.domain.object_ref import object_day
from twap_pipeline.domain.quality import Fates
from twap_pipeline.errors import DatabaseUnavailableError
from twap_pipeline.failpoints import armed
from twap_pipeline.ingest import retrying
from twap_pipeline.ingest.loading import ingest_object
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.database import make_engine, reachable
from twap_pipeline_tests.conftest import reachable_directory
from twap_pipeline_tests.dagster_web import until
from twap_pipeline_tests.loader import loader
from twap_pipeline_tests.objects import event
from twap_pipeline_tests.oracle import Scene, assert_nobody_left, take_everything

_AT_WORK = """
SELECT coalesce(max(pid), 0) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND wait_event = 'ClientRead' AND query LIKE 'COPY%'
"""


def frozen_backend(scene: Scene) -> int:
    """Return the session that waits for its client within COPY, as soon as there is one."""
    return until(lambda: scene.count(_AT_WORK), 90, "a loader freezes within COPY")


def test_W3_a_frozen_loader_is_freed_by_ending_its_session_and_cannot_commit_afterwards(
    scene: Scene,
) -> None:
    (scene.bucket.directory / "b.parquet").unlink()  # two objects side by side would meet in an event
    with loader(scene, at="mid-copy", by=signal.SIGSTOP) as frozen, ThreadPoolExecutor(1) as thread:
        backend = frozen_backend(scene)
        first = next(scene.store.list_objects())
        waiting = thread.submit(ingest_object, scene.store, scene.engine, first, object_day(first))
        scene.run(f"SELECT pg_cancel_backend({backend})")
        assert frozen_backend(scene) == backend, "a cancel is not enough"

        scene.run(f"SELECT pg_terminate_backend({backend}, 5000)")

        assert waiting.result(20).fates == Fates(inserted=499)
        os.kill(frozen.pid or 0, signal.SIGCONT)
        frozen.join(20)
        assert frozen.exitcode == 0
    scene.assert_sound()


def test_W3_who_waits_for_a_frozen_loader_gives_up_and_says_what_to_do(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_log, "CLAIM_WAIT_SECONDS", 0.3)
    (scene.bucket.directory / "b.parquet").unlink()

    with loader(scene, at="mid-copy", by=signal.SIGSTOP):
        frozen_backend(scene)
        with pytest.raises(
            DatabaseUnavailableError, match=r"^[ab]\.parquet: another session has held it for more than 0\.3 seconds"
        ):
            take_everything(scene.store, scene.engine)

    assert_nobody_left(scene.engine)
    take_everything(scene.store, scene.engine)
    scene.assert_sound()


def full_disk(scene: Scene) -> None:
    """Have the server raise, for every row from the 200th on, what it raises when its disk is full."""
    scene.run(
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


def test_W6_a_full_disk_rolls_back_is_shown_and_is_not_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    full_disk(scene)

    with (
        armed("downloaded", lambda: tries.append("download")),
        armed("mid-copy", lambda: tries.append("copy")),
        pytest.raises(DatabaseUnavailableError, match=r"No space left on device.*; free or add space on the server's"),
        reachable(scene.url),
    ):
        take_everything(scene.store, scene.engine)

    assert max(Counter(tries).values()) <= 2  # once for each object
    assert scene.count("SELECT (SELECT count(*) FROM twap_status) + (SELECT count(*) FROM etl_s3_ingest_log)") == 0
    scene.run("DROP TRIGGER full_disk ON twap_status")
    take_everything(scene.store, scene.engine)
    scene.assert_sound()


@pytest.fixture
def tiny_disk(scene: Scene) -> Iterator[None]:
    """The table on a disk of its own that holds a megabyte."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a disk; the test above has the server raise the same error")
    owner = Path(scene.text("SHOW data_directory")).stat()
    with reachable_directory() as folder:
        options = f"size=1m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=False, capture_output=True)
        if made.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
        try:
            scene.run_alone(f"CREATE TABLESPACE tiny LOCATION '{folder}'")
            scene.run("ALTER TABLE twap_status SET TABLESPACE tiny")
            yield
        finally:
            scene.run("ALTER TABLE twap_status SET TABLESPACE pg_default")
            scene.run_alone("DROP TABLESPACE tiny")
            subprocess.run(["umount", folder], check=True)


@pytest.mark.usefixtures("tiny_disk")
def test_W6_a_disk_that_is_really_full_rolls_back_and_once_there_is_space_all_comes_in(scene: Scene) -> None:
    scene.bucket.put("a.parquet", [event(twap_id) for twap_id in range(1, 6_000)])

    with (
        pytest.raises(DatabaseUnavailableError, match=r"No space left on device.*; free or add space on the server's"),
        reachable(scene.url),
    ):
        take_everything(scene.store, scene.engine)

    of_a = "WHERE s3_object_key = 'a.parquet'"
    assert (
        scene.count(f"SELECT (SELECT count(*) FROM twap_status {of_a}) + count(*) FROM etl_s3_ingest_log {of_a}") == 0
    )
    scene.run("ALTER TABLE twap_status SET TABLESPACE pg_default")
    take_everything(scene.store, scene.engine)
    scene.assert_sound()


@pytest.fixture
def clerk(scene: Scene) -> Iterator[Engine]:
    """An engine of a role that is no superuser, whom limits of connections bind."""
    name = f"clerk_{scene.url.database}"
    scene.run(f"CREATE ROLE {name} LOGIN PASSWORD 'clerk' CONNECTION LIMIT 1")
    scene.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    engine = make_engine(scene.url.set(username=name, password="clerk"))
    yield engine
    engine.dispose()


def when_it_pauses(monkeypatch: pytest.MonkeyPatch, *actions: Callable[[], object]) -> list[float]:
    """Do these one after the other in the pauses between tries, instead of waiting; return the pauses."""
    pauses: list[float] = []
    left = list(actions)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if left:
            left.pop(0)()

    monkeypatch.setattr(retrying, "sleep", pause)
    return pauses


def nothing() -> None:
    """Let a pause pass."""


def test_W7_too_many_connections_are_waited_for(scene: Scene, clerk: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_engine(clerk.url)
    with other.connect():
        pass  # the pool keeps the connection
    pauses = when_it_pauses(monkeypatch, nothing, nothing, other.dispose)

    first = next(scene.store.list_objects())
    done = ingest_object(scene.store, clerk, first, object_day(first))

    assert done.fates == Fates(inserted=499)
    assert pauses == [0.2, 0.4, 0.8]
    take_everything(scene.store, clerk)
    scene.assert_sound()


def test_W7_a_server_that_is_read_only_during_a_failover_is_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = scene.url.database
    scene.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    promote = (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        f"ALTER DATABASE {name} RESET default_transaction_read_only",
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    scene.engine.dispose()
    pauses = when_it_pauses(monkeypatch, nothing, lambda: scene.run_alone(*promote))

    take_everything(scene.store, scene.engine)

    assert set(pauses) <= {0.2, 0.4}
    assert len(pauses) >= 2
    scene.assert_sound()


def test_W7_what_does_not_recover_is_given_up_within_half_a_minute(
    scene: Scene, clerk: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = when_it_pauses(monkeypatch)
    with (
        clerk.connect(),
        pytest.raises(DatabaseUnavailableError, match=r"too many connections"),
        reachable(clerk.url),
    ):
        ingest_object(scene.store, clerk, next(scene.store.list_objects()), scene.bucket.day)

    assert len(pauses) == retrying.TRANSACTION_ATTEMPTS - 1
    assert 20 < sum(pauses) < 30
