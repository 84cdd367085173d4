"""Unit tests of `ObjectFile`: errors of this host while an object's bytes are stored are not the object's fault."""

import errno
import tempfile
from pathlib import Path
from typing import IO

import pytest

from twap_pipeline.errors import LocalResourceError
from twap_pipeline.source.object_file import ObjectFile, raise_local_error

pytestmark = pytest.mark.unit


def open_full_device(**_: object) -> IO[bytes]:
    return open("/dev/full", "r+b")  # noqa: PTH123  # the caller closes it


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder on a full disk."""
    monkeypatch.setattr(tempfile, "TemporaryFile", open_full_device)


def store(size: int) -> None:
    with ObjectFile(max_size=1) as file:
        file.write(b"x" * size)
        file.seek(0)


@pytest.mark.fault("W6")
@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.usefixtures("full_disk")
def test_object_file_full_disk_raises_local_error(size: int) -> None:
    """A large write fails at once; a small one when the buffer is written."""
    with pytest.raises(LocalResourceError, match=r"No space left on device; temporary folder .*: [\d,]+ bytes free"):
        store(size)


@pytest.mark.usefixtures("full_disk")
def test_object_file_full_disk_at_its_end_raises_local_error() -> None:
    with pytest.raises(LocalResourceError, match="free disk space"), ObjectFile(max_size=1) as file:
        file.write(b"xx")


def test_object_file_missing_folder_raises_local_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with ObjectFile(max_size=1) as file, pytest.raises(LocalResourceError, match=f"{tmp_path}/gone.*set TMPDIR"):
        file.write(b"xx")


def test_object_file_without_any_folder_raises_local_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)

    with ObjectFile(max_size=1) as file, pytest.raises(LocalResourceError, match="no temporary folder is writable"):
        file.write(b"xx")


def test_object_file_small_object_needs_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with ObjectFile(max_size=10) as file:
        file.write(b"bytes")
        file.seek(0)
        assert file.read() == b"bytes"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM])
def test_local_error_is_found_in_the_causes(number: int) -> None:
    cause = OSError(number, "text")
    wrapped = ConnectionError("no connection")
    wrapped.__cause__ = ValueError()
    wrapped.__cause__.__context__ = cause

    with pytest.raises(LocalResourceError, match="text"):
        raise_local_error(wrapped)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), ConnectionResetError(errno.ECONNRESET, "reset")])
def test_local_error_is_not_raised_for_other_errors(error: OSError) -> None:
    raise_local_error(error)
