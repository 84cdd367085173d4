"""`LocalDirectory.list_objects`: keys in order, which files are data, versions, modification times."""

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.errors import (
    SourceAccessError,
    SourceNotFoundError,
)
from twap_pipeline.source.base import open_store
from twap_pipeline.source.local import LocalDirectory, parse_file_url
from twap_pipeline.source.selection import SkippedObjects, SkipReason
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.source.directory import MODIFIED_NS, fetch, keys, listing, put

pytestmark = pytest.mark.unit

as_root = getattr(os, "geteuid", lambda: 0)() == 0


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
        assert [ref.key for ref in open_store(url).list_objects()] == ["x.parquet"]


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
