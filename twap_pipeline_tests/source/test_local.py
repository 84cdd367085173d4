"""Unit tests of `LocalDirectory`: listing, exact keys, versions, and files that change after the listing."""

import dataclasses
import errno
import io
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import (
    LocalResourceError,
    ObjectChangedError,
    ObjectCorruptError,
    ObjectGoneError,
    ObjectRefusedError,
    SourceAccessError,
    SourceNotFoundError,
)
from twap_pipeline.source import local
from twap_pipeline.source.base import StoreOptions
from twap_pipeline.source.local import LocalDirectory, open_directory, parse_file_url
from twap_pipeline.source.object_file import ObjectFile
from twap_pipeline.source.selection import SkippedObjects, SkipReason
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

MODIFIED_NS = 1_790_254_800_123_456_789
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


def put(directory: Path, key: str, data: bytes = b"bytes", modified_ns: int = MODIFIED_NS) -> Path:
    path = directory / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(modified_ns, modified_ns))
    return path


def listing(directory: Path) -> list[ObjectRef]:
    return list(LocalDirectory(directory).list_objects())


def keys(directory: Path) -> list[str]:
    return [ref.key for ref in listing(directory)]


def fetch(directory: Path, ref: ObjectRef) -> bytes:
    into = io.BytesIO(b"longer content of an earlier attempt")
    into.seek(7)
    assert LocalDirectory(directory).fetch(ref, into) is False
    assert into.tell() == 0
    return into.read()


def test_list_nested_files_in_key_order(tmp_path: Path) -> None:
    for key in ["b/2.parquet", "a.parquet", "b/10.parquet", "b.parquet", "a/z.parquet"]:
        put(tmp_path, key)

    assert keys(tmp_path) == ["a.parquet", "a/z.parquet", "b.parquet", "b/10.parquet", "b/2.parquet"]


@pytest.mark.fault("D7")
def test_list_skips_markers_hidden_files_and_empty_folders(tmp_path: Path) -> None:
    for key in [".hidden", "_SUCCESS", "a/.part.crc", "a/x.parquet", "_a/y.parquet"]:
        put(tmp_path, key)
    (tmp_path / "empty").mkdir()

    assert keys(tmp_path) == ["a/x.parquet"]


@pytest.mark.fault("D9")
def test_list_skips_and_counts_files_that_are_not_data(tmp_path: Path) -> None:
    for key in ["a/x.parquet", "a/_temporary/0/y.parquet", "a/manifest.json", ".z/z.parquet"]:
        put(tmp_path, key)
    skipped = SkippedObjects()

    listed = list(LocalDirectory(tmp_path, "*.parquet").list_objects(skipped=skipped))

    assert [ref.key for ref in listed] == ["a/x.parquet"]
    assert skipped.keys == {
        SkipReason.HIDDEN: [".z/z.parquet", "a/_temporary/0/y.parquet"],
        SkipReason.NAME: ["a/manifest.json"],
    }


@pytest.mark.fault("D9")
def test_list_sibling_directory_is_not_listed(tmp_path: Path) -> None:
    put(tmp_path, "raw/x.parquet")
    put(tmp_path, "raw_v2/x.parquet")

    for url in (f"{tmp_path.as_uri()}/raw", f"{tmp_path.as_uri()}/raw/"):
        assert [ref.key for ref in open_directory(url, StoreOptions()).list_objects()] == ["x.parquet"]


@pytest.mark.parametrize(
    ("below", "after", "expected"),
    [
        ("", "", ["a.parquet", "a/1", "a/2", "b/1"]),
        ("a", "", ["a.parquet", "a/1", "a/2"]),
        ("a/", "", ["a/1", "a/2"]),
        ("a/2", "", ["a/2"]),
        ("", "a/1", ["a/2", "b/1"]),
        ("", "a/15", ["a/2", "b/1"]),
        ("a/", "a/1", ["a/2"]),
        ("c", "", []),
        ("", "b/1", []),
    ],
)
def test_list_below_prefix_and_after_key(tmp_path: Path, below: str, after: str, expected: list[str]) -> None:
    for key in ["a.parquet", "a/1", "a/2", "b/1"]:
        put(tmp_path, key)

    assert [ref.key for ref in LocalDirectory(tmp_path).list_objects(below=below, after=after)] == expected


def test_listing_below_prefix_reads_no_other_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a/2025/01", "a/2025/02", "b/2025/01"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x").touch()
    read: list[str] = []
    scandir = os.scandir

    def record(folder: str) -> object:
        read.append(os.path.relpath(folder, tmp_path))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", record)

    listed = list(LocalDirectory(tmp_path).list_objects(below="a/2025/01"))

    assert [ref.key for ref in listed] == ["a/2025/01/x"]
    assert read == [".", "a", "a/2025", "a/2025/01"]


@pytest.mark.fault("D7")
def test_list_order_is_utf8_byte_order_as_in_s3(tmp_path: Path) -> None:
    names = ["Z", "a", "~", "\u00e9", "\uffff", "😀"]
    for name in reversed(names):
        put(tmp_path, name)

    assert keys(tmp_path) == sorted(names, key=lambda name: name.encode()) == names


def test_list_ref_has_size_and_modification_time(tmp_path: Path) -> None:
    put(tmp_path, "x", b"12345")

    (ref,) = listing(tmp_path)

    assert (ref.key, ref.size_bytes) == ("x", 5)
    assert ref.last_modified == datetime(2026, 9, 24, 13, 0, 0, 123_456, tzinfo=UTC)


@given(st.integers(1_672_531_200 * 10**9, 2_000_000_000 * 10**9))
@examples(50)
def test_list_last_modified_is_exact_to_the_microsecond(modified_ns: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        put(Path(directory), "x", modified_ns=modified_ns)

        (ref,) = listing(Path(directory))

    assert ref.last_modified - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(microseconds=modified_ns // 1_000)


def test_etag_unchanged_file_is_stable(tmp_path: Path) -> None:
    put(tmp_path, "x")

    assert listing(tmp_path) == listing(tmp_path)


@pytest.mark.fault("D2")
@pytest.mark.parametrize(("data", "modified_ns"), [(b"bytes", MODIFIED_NS + 1), (b"more bytes", MODIFIED_NS)])
def test_etag_overwritten_file_changes(tmp_path: Path, data: bytes, modified_ns: int) -> None:
    put(tmp_path, "x")
    (before,) = listing(tmp_path)
    put(tmp_path, "x", data, modified_ns)

    (after,) = listing(tmp_path)

    assert after.etag != before.etag


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


@pytest.mark.fault("D7")
@pytest.mark.parametrize("name", [b"\xff.parquet", b"caf\xe9.parquet", b"\xf0\x9f/x.parquet"])
def test_list_non_utf8_name_is_not_valid(tmp_path: Path, name: bytes) -> None:
    put(tmp_path, os.fsdecode(name))
    put(tmp_path, "a.parquet")

    assert sorted(ref.invalid is None for ref in listing(tmp_path)) == [False, True]


@pytest.mark.parametrize(
    ("seconds", "year"), [(0, 1970), (1, 1970), (315_532_800, 1980), (-1, 1969), (4_000_000_000, 2096)]
)
def test_list_extreme_modification_time_is_data(tmp_path: Path, seconds: int, year: int) -> None:
    """Unpacked archives have 1980, reproducible images 1970."""
    put(tmp_path, "a.parquet", modified_ns=seconds * 10**9)

    (ref,) = listing(tmp_path)

    assert fetch(tmp_path, ref) == b"bytes"
    assert ref.last_modified.year == year


@pytest.mark.parametrize("seconds", [2**40, 2**62])
def test_modification_time_after_9999_is_clamped(seconds: int) -> None:
    assert local._modified(seconds * 10**9) == datetime.max.replace(tzinfo=UTC)


@pytest.mark.fault("D7")
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20)
        .filter(lambda name: name not in {".", ".."})
        .map(lambda name: "x" + name),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
@examples(50)
def test_list_any_unicode_name_once(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            put(Path(directory), name)

        assert keys(Path(directory)) == sorted(names)


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


@pytest.mark.fault("D5")
@pytest.mark.parametrize("name", ["absent", "file"])
def test_list_missing_directory_raises_not_found(tmp_path: Path, name: str) -> None:
    put(tmp_path, "file")

    with pytest.raises(SourceNotFoundError, match=name):
        listing(tmp_path / name)


@pytest.mark.fault("D5")
@pytest.mark.skipif(as_root, reason="root can read every file")
def test_list_unreadable_folder_raises_access_error(tmp_path: Path) -> None:
    put(tmp_path, "a/x").parent.chmod(0)

    with pytest.raises(SourceAccessError, match="cannot list"):
        listing(tmp_path)


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


def test_list_skips_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "absent")

    assert keys(tmp_path) == []


def test_list_link_to_parent_is_skipped(tmp_path: Path) -> None:
    put(tmp_path, "a/x")
    (tmp_path / "a" / "back").symlink_to(tmp_path, target_is_directory=True)

    assert keys(tmp_path) == ["a/x"]


def test_url_is_absolute_and_ends_with_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    url = LocalDirectory(Path("here it is")).url

    assert url == f"{tmp_path.as_uri()}/here%20it%20is/"
    assert parse_file_url(url) == tmp_path / "here it is"
