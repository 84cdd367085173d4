"""`LocalDirectory.fetch`: exact keys, files that change after the listing, errors of the file and of this host."""

import dataclasses
import errno
import os
import tempfile
from pathlib import Path
from typing import IO

import pytest

from twap_pipeline.errors import (
    LocalResourceError,
    ObjectChangedError,
    ObjectCorruptError,
    ObjectGoneError,
    ObjectRefusedError,
    SourceNotFoundError,
)
from twap_pipeline.source.local import LocalDirectory, parse_file_url
from twap_pipeline.source.object_file import ObjectFile
from twap_pipeline_tests.source.directory import MODIFIED_NS, fetch, listing, put

pytestmark = pytest.mark.unit

ODD_KEYS = [
    "a b/c d.parquet",
    "a+b.parquet",
    "a%25b.parquet",
    "%2F.parquet",
    "caf\u00e9.parquet",
    "cafe\u0301.parquet",
    "😀/🚀.parquet",
    "#?&=;.parquet",
    "back\\slash.parquet",
    "tab\tline\nend.parquet",
    " .parquet",
    "/".join(["x" * 200] * 5),
]
as_root = getattr(os, "geteuid", lambda: 0)() == 0


@pytest.mark.fault("D7")
@pytest.mark.parametrize("key", ODD_KEYS)
def test_fetch_unusual_key_round_trips(tmp_path: Path, key: str) -> None:
    put(tmp_path, key, key.encode())

    (ref,) = listing(tmp_path)

    assert ref.key == key
    assert fetch(tmp_path, ref) == key.encode()
    assert parse_file_url(LocalDirectory(tmp_path).uri(key)) == tmp_path / key


@pytest.mark.fault("D7")
def test_fetch_similar_keys_are_different_files(tmp_path: Path) -> None:
    for key in ["caf\u00e9", "cafe\u0301", "%25", "%", "a b", "a+b"]:
        put(tmp_path, key, key.encode())

    assert {ref.key: fetch(tmp_path, ref).decode() for ref in listing(tmp_path)} == {
        key: key for key in ["caf\u00e9", "cafe\u0301", "%25", "%", "a b", "a+b"]
    }


def test_fetch_replaces_previous_content_and_rewinds(tmp_path: Path) -> None:
    put(tmp_path, "x", b"the bytes")

    (ref,) = listing(tmp_path)

    assert fetch(tmp_path, ref) == b"the bytes"


@pytest.mark.fault("D4")
def test_fetch_deleted_file_raises_gone(tmp_path: Path) -> None:
    path = put(tmp_path, "a/x")
    (ref,) = listing(tmp_path)
    path.unlink()

    with pytest.raises(ObjectGoneError) as raised:
        fetch(tmp_path, ref)

    assert raised.value.key == "a/x"


@pytest.mark.fault("D4")
def test_fetch_folder_replaced_by_file_raises_gone(tmp_path: Path) -> None:
    path = put(tmp_path, "a/x")
    (ref,) = listing(tmp_path)
    path.unlink()
    path.parent.rmdir()
    put(tmp_path, "a")

    with pytest.raises(ObjectGoneError):
        fetch(tmp_path, ref)


@pytest.mark.fault("D4")
def test_fetch_file_replaced_by_folder_raises_gone(tmp_path: Path) -> None:
    path = put(tmp_path, "x")
    (ref,) = listing(tmp_path)
    path.unlink()
    path.mkdir()

    with pytest.raises(ObjectGoneError):
        fetch(tmp_path, ref)


@pytest.mark.fault("D3")
@pytest.mark.parametrize(("data", "modified_ns"), [(b"other", MODIFIED_NS + 1), (b"longer bytes", MODIFIED_NS)])
def test_fetch_overwritten_file_raises_changed(tmp_path: Path, data: bytes, modified_ns: int) -> None:
    put(tmp_path, "x")
    (ref,) = listing(tmp_path)
    put(tmp_path, "x", data, modified_ns)

    with pytest.raises(ObjectChangedError) as raised:
        fetch(tmp_path, ref)

    assert raised.value.key == "x"


@pytest.mark.fault("D3")
def test_fetch_other_etag_raises_changed(tmp_path: Path) -> None:
    put(tmp_path, "x")
    (ref,) = listing(tmp_path)

    with pytest.raises(ObjectChangedError):
        fetch(tmp_path, dataclasses.replace(ref, etag="another"))


@pytest.mark.skipif(as_root, reason="root can read every file")
def test_fetch_unreadable_file_raises_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "a/x")
    (ref,) = listing(tmp_path)
    path.chmod(0)

    with pytest.raises(ObjectRefusedError, match="a/x: cannot read"):
        fetch(tmp_path, ref)


@pytest.mark.fault("S7")
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EACCES, ObjectRefusedError),
        (errno.EPERM, ObjectRefusedError),
        (errno.EIO, ObjectCorruptError),
        (errno.ESTALE, ObjectCorruptError),
        (errno.ENOENT, ObjectGoneError),
        (errno.EMFILE, LocalResourceError),
        (errno.ENOMEM, LocalResourceError),
    ],
)
def test_fetch_error_of_the_file_or_of_this_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    put(tmp_path, "a/x")
    (ref,) = listing(tmp_path)

    def refuse(path: Path, *_: object) -> IO[bytes]:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(error, match=os.strerror(number) if number != errno.ENOENT else "deleted"):
        fetch(tmp_path, ref)


@pytest.mark.fault("D4")
def test_fetch_from_vanished_directory_raises_not_found(tmp_path: Path) -> None:
    """An unmounted file system is not a deletion of its files."""
    put(tmp_path / "mounted", "a/x")
    (ref,) = listing(tmp_path / "mounted")
    (tmp_path / "mounted").rename(tmp_path / "other")

    with pytest.raises(SourceNotFoundError, match="mounted"):
        fetch(tmp_path / "mounted", ref)


@pytest.mark.parametrize("folder", ["gone", "file/below"])
def test_fetch_without_temporary_folder_raises_local_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    put(tmp_path / "source", "a/x")
    put(tmp_path, "file")
    (ref,) = listing(tmp_path / "source")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))

    with ObjectFile(max_size=1) as file, pytest.raises(LocalResourceError, match=folder):
        LocalDirectory(tmp_path / "source").fetch(ref, file)
