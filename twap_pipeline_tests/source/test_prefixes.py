"""Several prefixes as one source: which keys are listed, in which order, and by which requests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from twap_pipeline.errors import ConfigurationError, SourceError
from twap_pipeline.source.base import ObjectStore, open_store
from twap_pipeline.source.selection import SkippedObjects
from twap_pipeline_tests.s3_server import S3Server

BUCKET = "reservoir"
PREFIXES = ("by_dex/*/fills/perp/twap_fills/", "global/fills/spot/all/")
PERP = "by_dex/{}/fills/perp/twap_fills/date=2025-08-{:02}/fills.parquet"
SPOT = "global/fills/spot/all/date=2025-08-{:02}/fills.parquet"
FILLS = sorted([PERP.format(dex, day) for dex in ("hyperliquid", "xyz") for day in (2, 3)] + [SPOT.format(2)])
OTHERS = (
    "by_dex/hyperliquid/fills/perp/all/date=2025-08-02/fills.parquet",
    "by_dex/readme.parquet",
    "global/fills/perp/all/date=2025-08-02/fills.parquet",
    "global/fills/spot/all_v2/date=2025-08-02/fills.parquet",
)

Put = Callable[..., None]


@pytest.fixture(params=["file", "s3", "s3 with prefix"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def put(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Put:
    """A function that creates objects of one byte in the store of the test."""
    if kind == "file":

        def write(*keys: str) -> None:
            for key in keys:
                (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / key).write_bytes(b"x")

        return write
    server: S3Server = request.getfixturevalue("s3")
    request.getfixturevalue("monkeypatch").setenv("AWS_ENDPOINT_URL_S3", server.url)
    server.client().create_bucket(Bucket=BUCKET)
    start = "mirror/" if kind == "s3 with prefix" else ""
    return lambda *keys: server.put_objects(BUCKET, [start + key for key in keys])


@pytest.fixture
def store(put: Put, kind: str, tmp_path: Path) -> ObjectStore:
    """A store of fills and of much else."""
    put(*FILLS, *OTHERS)
    url = {"file": tmp_path.as_uri() + "/", "s3": f"s3://{BUCKET}/"}.get(kind, f"s3://{BUCKET}/mirror/")
    return open_store(url, prefixes=PREFIXES, allow_insecure_endpoint=True)


def list_keys(store: ObjectStore, *, below: str = "", after: str = "") -> list[str]:
    return [ref.key.removeprefix("mirror/") for ref in store.list_objects(below=below, after=after)]


def test_prefixes_of_all_folders_are_listed_in_key_order(store: ObjectStore, put: Put) -> None:
    assert list_keys(store) == FILLS

    put(PERP.format("cash", 9))
    assert list_keys(store) == [PERP.format("cash", 9), *FILLS]


def test_prefixes_after_a_key_are_listed_from_there(store: ObjectStore, kind: str) -> None:
    start = "mirror/" if kind == "s3 with prefix" else ""

    for position, key in enumerate(FILLS):
        assert list_keys(store, after=start + key) == FILLS[position + 1 :], key


def test_prefixes_below_a_prefix_are_their_common_keys(store: ObjectStore, kind: str) -> None:
    start = "mirror/" if kind == "s3 with prefix" else ""

    for below, expected in (
        ("by_dex/", FILLS[:4]),
        ("by_dex/x", FILLS[2:4]),
        ("by_dex/xyz/fills/perp/twap_fills/date=2025-08-03", FILLS[3:4]),
        ("by_dex/new/fills/perp/twap_fills/date=2025-08-03", []),
        ("by_dex/hyperliquid/fills/perp/all/", []),
        ("global/fills/spot/all/date=2025-08-0", FILLS[4:]),
        ("other/", []),
    ):
        assert list_keys(store, below=start + below) == expected, below


def test_prefixes_without_folders_have_no_objects(tmp_path: Path) -> None:
    (tmp_path / "by_dex").touch()

    assert list_keys(open_store(tmp_path.as_uri() + "/", prefixes=PREFIXES)) == []


def test_prefixes_count_what_is_no_data_below_them_only(tmp_path: Path) -> None:
    for key in (*FILLS, "by_dex/xyz/fills/perp/twap_fills/_SUCCESS", "by_dex/_SUCCESS"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    skipped = SkippedObjects()
    store = open_store(tmp_path.as_uri() + "/", object_pattern="*.parquet", prefixes=PREFIXES)

    assert [ref.key for ref in store.list_objects(skipped=skipped)] == FILLS
    assert list(skipped.keys.values()) == [["by_dex/xyz/fills/perp/twap_fills/_SUCCESS"]]


def test_prefixes_covered_by_others_are_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").touch()

    assert list_keys(open_store(tmp_path.as_uri() + "/", prefixes=("a/b/", "a/", "*/b/"))) == ["a/b/x"]


def test_prefixes_cost_one_list_request_each_and_one_per_star(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of a known folder needs no listing of the folders. Each request sends the requester-pays header."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    s3.client().create_bucket(Bucket=BUCKET)
    s3.put_objects(BUCKET, [*FILLS, *OTHERS, *(f"by_dex/dex{number}/x" for number in range(1_000))])
    store = open_store(f"s3://{BUCKET}/", prefixes=PREFIXES, allow_insecure_endpoint=True)
    s3.requests.clear()

    assert list_keys(store, below=FILLS[0]) == FILLS[:1]
    assert s3.requests["LIST"] == 1
    folders = open_store(f"s3://{BUCKET}/", allow_insecure_endpoint=True).list_folders("by_dex/")  # type: ignore[attr-defined]
    assert len(list(folders)) == 1_002
    assert s3.requests["LIST"] == 3


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gs://bucket/", "TWAP_FILLS_URL is 'gs://bucket/'"),
        ("file://host/directory/", "TWAP_FILLS_URL is 'file://host/directory/'"),
        ("s3:///", "TWAP_FILLS_URL is 's3:///'"),
        ("file:///does/not/exist/", "does not exist; correct TWAP_FILLS_URL"),
        ("s3://no-such-bucket/", "correct the bucket's name in TWAP_FILLS_URL"),
        ("s3://a/", "correct the bucket's name in TWAP_FILLS_URL"),
    ],
)
def test_url_of_fills_in_errors_has_its_own_setting(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)

    with pytest.raises((ConfigurationError, SourceError)) as raised:
        list(open_store(url, prefixes=PREFIXES, setting="TWAP_FILLS_URL", allow_insecure_endpoint=True).list_objects())

    assert message in str(raised.value)
    assert "TWAP_SOURCE_URL" not in str(raised.value)
