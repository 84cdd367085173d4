"""A directory as an object store: every file once, by its exact name and version; a file that changed is refused."""

import dataclasses
import io
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import (
    ObjectChangedError,
    ObjectGoneError,
    SourceAccessError,
    SourceError,
    SourceNotFoundError,
)
from twap_pipeline.source.base import parse_source_url
from twap_pipeline.source.local import LocalDirectory
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


def fetched(directory: Path, ref: ObjectRef) -> bytes:
    into = io.BytesIO(b"left over from an earlier attempt, and longer")
    into.seek(7)
    assert LocalDirectory(directory).fetch(ref, into) is False
    assert into.tell() == 0
    return into.read()


def test_files_at_any_depth_are_listed_in_the_order_of_their_keys(tmp_path: Path) -> None:
    for key in ["b/2.parquet", "a.parquet", "b/10.parquet", "b.parquet", "a/z.parquet"]:
        put(tmp_path, key)

    assert keys(tmp_path) == ["a.parquet", "a/z.parquet", "b.parquet", "b/10.parquet", "b/2.parquet"]


@pytest.mark.fault("D7")
def test_markers_hidden_files_and_empty_folders_are_skipped(tmp_path: Path) -> None:
    for key in [".hidden", "_SUCCESS", "a/.part.crc", "a/x.parquet", "_a/y.parquet"]:
        put(tmp_path, key)
    (tmp_path / "empty").mkdir()

    assert keys(tmp_path) == ["_a/y.parquet", "a/x.parquet"]


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
def test_a_listing_may_begin_behind_a_key_and_stay_below_a_prefix(
    tmp_path: Path, below: str, after: str, expected: list[str]
) -> None:
    for key in ["a.parquet", "a/1", "a/2", "b/1"]:
        put(tmp_path, key)

    assert [ref.key for ref in LocalDirectory(tmp_path).list_objects(below=below, after=after)] == expected


@pytest.mark.fault("D7")
def test_the_order_of_a_listing_is_that_of_the_keys_bytes_as_in_s3(tmp_path: Path) -> None:
    names = ["Z", "a", "~", "\u00e9", "\uffff", "😀"]
    for name in reversed(names):
        put(tmp_path, name)

    assert keys(tmp_path) == sorted(names, key=lambda name: name.encode()) == names


def test_an_entry_is_the_files_size_and_time(tmp_path: Path) -> None:
    put(tmp_path, "x", b"12345")

    (ref,) = listing(tmp_path)

    assert (ref.key, ref.size_bytes) == ("x", 5)
    assert ref.last_modified == datetime(2026, 9, 24, 13, 0, 0, 123_456, tzinfo=UTC)


@given(st.integers(1_672_531_200 * 10**9, 2_000_000_000 * 10**9))
@examples(50)
def test_last_modified_is_exact_to_the_microsecond(modified_ns: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        put(Path(directory), "x", modified_ns=modified_ns)

        (ref,) = listing(Path(directory))

    assert ref.last_modified - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(microseconds=modified_ns // 1_000)


def test_an_unchanged_file_keeps_its_etag(tmp_path: Path) -> None:
    put(tmp_path, "x")

    assert listing(tmp_path) == listing(tmp_path)


@pytest.mark.fault("D2")
@pytest.mark.parametrize(("data", "modified_ns"), [(b"bytes", MODIFIED_NS + 1), (b"more bytes", MODIFIED_NS)])
def test_an_overwritten_file_gets_another_etag(tmp_path: Path, data: bytes, modified_ns: int) -> None:
    put(tmp_path, "x")
    (before,) = listing(tmp_path)
    put(tmp_path, "x", data, modified_ns)

    (after,) = listing(tmp_path)

    assert after.etag != before.etag


@pytest.mark.fault("D7")
@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_key_goes_round_exactly(tmp_path: Path, key: str) -> None:
    put(tmp_path, key, key.encode())

    (ref,) = listing(tmp_path)

    assert ref.key == key
    assert fetched(tmp_path, ref) == key.encode()
    assert parse_source_url(LocalDirectory(tmp_path).uri(key)) == tmp_path / key


@pytest.mark.fault("D7")
def test_keys_that_look_alike_are_different_files(tmp_path: Path) -> None:
    for key in ["caf\u00e9", "cafe\u0301", "%25", "%", "a b", "a+b"]:
        put(tmp_path, key, key.encode())

    assert {ref.key: fetched(tmp_path, ref).decode() for ref in listing(tmp_path)} == {
        key: key for key in ["caf\u00e9", "cafe\u0301", "%25", "%", "a b", "a+b"]
    }


@pytest.mark.fault("D7")
def test_a_name_that_is_no_unicode_is_listed_and_read(tmp_path: Path) -> None:
    put(tmp_path, os.fsdecode(b"\xff.parquet"))

    (ref,) = listing(tmp_path)

    assert fetched(tmp_path, ref) == b"bytes"
    assert LocalDirectory(tmp_path).uri(ref.key).endswith("/%FF.parquet")


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
def test_names_of_any_alphabet_are_listed_once_each(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            put(Path(directory), name)

        assert keys(Path(directory)) == sorted(names)


def test_a_file_is_fetched_whole_over_what_was_there_and_rewound(tmp_path: Path) -> None:
    put(tmp_path, "x", b"the bytes")

    (ref,) = listing(tmp_path)

    assert fetched(tmp_path, ref) == b"the bytes"


@pytest.mark.fault("D4")
def test_a_file_deleted_after_the_listing_is_gone(tmp_path: Path) -> None:
    path = put(tmp_path, "a/x")
    (ref,) = listing(tmp_path)
    path.unlink()

    with pytest.raises(ObjectGoneError) as raised:
        fetched(tmp_path, ref)

    assert raised.value.key == "a/x"


@pytest.mark.fault("D4")
def test_a_folder_deleted_or_made_a_file_after_the_listing_is_gone(tmp_path: Path) -> None:
    path = put(tmp_path, "a/x")
    (ref,) = listing(tmp_path)
    path.unlink()
    path.parent.rmdir()
    put(tmp_path, "a")

    with pytest.raises(ObjectGoneError):
        fetched(tmp_path, ref)


@pytest.mark.fault("D4")
def test_a_file_replaced_by_a_folder_after_the_listing_is_gone(tmp_path: Path) -> None:
    path = put(tmp_path, "x")
    (ref,) = listing(tmp_path)
    path.unlink()
    path.mkdir()

    with pytest.raises(ObjectGoneError):
        fetched(tmp_path, ref)


@pytest.mark.fault("D3")
@pytest.mark.parametrize(("data", "modified_ns"), [(b"other", MODIFIED_NS + 1), (b"longer bytes", MODIFIED_NS)])
def test_a_file_overwritten_after_the_listing_is_refused(tmp_path: Path, data: bytes, modified_ns: int) -> None:
    put(tmp_path, "x")
    (ref,) = listing(tmp_path)
    put(tmp_path, "x", data, modified_ns)

    with pytest.raises(ObjectChangedError) as raised:
        fetched(tmp_path, ref)

    assert raised.value.key == "x"
    assert raised.value.transient


@pytest.mark.fault("D3")
def test_a_version_that_was_never_listed_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "x")
    (ref,) = listing(tmp_path)

    with pytest.raises(ObjectChangedError):
        fetched(tmp_path, dataclasses.replace(ref, etag="another"))


@pytest.mark.fault("D5")
@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_directory_that_is_not_there_is_no_empty_listing(tmp_path: Path, name: str) -> None:
    put(tmp_path, "file")

    with pytest.raises(SourceNotFoundError, match=name):
        listing(tmp_path / name)


@pytest.mark.fault("D5")
@pytest.mark.skipif(as_root, reason="root may read everything")
def test_a_folder_that_may_not_be_read_fails_the_whole_listing(tmp_path: Path) -> None:
    put(tmp_path, "a/x").parent.chmod(0)

    with pytest.raises(SourceAccessError, match="cannot list"):
        listing(tmp_path)


@pytest.mark.skipif(as_root, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused_by_its_key(tmp_path: Path) -> None:
    path = put(tmp_path, "a/x")
    (ref,) = listing(tmp_path)
    path.chmod(0)

    with pytest.raises(SourceAccessError, match="a/x: cannot read"):
        fetched(tmp_path, ref)


def test_a_link_to_nowhere_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "absent")

    assert keys(tmp_path) == []


def test_a_link_that_leads_back_is_refused_or_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a/x")
    (tmp_path / "a" / "back").symlink_to(tmp_path, target_is_directory=True)

    try:
        found = keys(tmp_path)
    except SourceError:
        return

    assert found == ["a/x"]


def test_the_url_names_the_directory_absolutely_and_ends_in_a_slash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    url = LocalDirectory(Path("here it is")).url

    assert url == f"{tmp_path.as_uri()}/here%20it%20is/"
    assert parse_source_url(url) == tmp_path / "here it is"
