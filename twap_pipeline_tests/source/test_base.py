"""Unit tests of `open_store` and the source URLs."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.source.base import open_store
from twap_pipeline.source.local import LocalDirectory, parse_file_url
from twap_pipeline.source.s3 import S3Location, make_s3_client, parse_s3_url
from twap_pipeline_tests.hypothesis_profiles import examples

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.unit

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def test_open_store_file_url_returns_local_directory(tmp_path: Path) -> None:
    store = open_store(f"{tmp_path.as_uri()}/")

    assert isinstance(store, LocalDirectory)
    assert store.url == f"{tmp_path.as_uri()}/"


def test_open_store_uses_the_client_that_is_passed() -> None:
    clients: list[object] = []

    def make_client() -> "S3Client":
        clients.append(client := make_s3_client())
        return client

    open_store("s3://twap/raw/", make_s3_client=make_client)

    assert len(clients) == 1


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://artemis-hyperliquid-data/raw/twap_statuses/", "artemis-hyperliquid-data", "raw/twap_statuses/"),
        ("s3://bucket//a/", "bucket", "/a/"),
        ("s3://bucket/a b+c%25/?x=1#y/", "bucket", "a b+c%25/?x=1#y/"),
        ("s3://bucket/a@b/", "bucket", "a@b/"),
        ("s3://bucket/😀/", "bucket", "😀/"),
    ],
)
def test_s3_url_is_parsed_verbatim(url: str, bucket: str, prefix: str) -> None:
    assert parse_s3_url(url) == S3Location(bucket, prefix)


@pytest.mark.fault("D7")
@given(st.text(characters, max_size=40).filter(lambda prefix: prefix == prefix.strip()))
@examples(100)
def test_s3_url_any_prefix_round_trips(prefix: str) -> None:
    location = S3Location("bucket", f"{prefix}/")

    assert parse_s3_url(location.url) == location


@pytest.mark.fault("D9")
@pytest.mark.parametrize("prefix", ["raw/twap_statuses", "raw", "raw/twap_statuses/date=2025-08-20", "a b?c#d"])
def test_s3_url_prefix_without_a_slash_is_a_folder(prefix: str) -> None:
    assert parse_s3_url(f"s3://bucket/{prefix}") == S3Location("bucket", f"{prefix}/")


ACCESS_POINTS = [
    "arn:aws:s3:us-east-1:123456789012:accesspoint/twap",
    "arn:aws:s3:us-east-1:123456789012:accesspoint:twap",
    "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/twap",
    "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/twap",
    "arn:aws:s3-outposts:us-east-1:123456789012:outpost/op-01234567890123456/accesspoint/twap",
    "arn:aws:s3-outposts:us-east-1:123456789012:outpost:op-01234567890123456:accesspoint:twap",
]


@pytest.mark.fault("S8")
@pytest.mark.parametrize("arn", ACCESS_POINTS)
@pytest.mark.parametrize("prefix", ["", "raw/twap_statuses/"])
def test_s3_url_access_point_arn_is_the_bucket(arn: str, prefix: str) -> None:
    location = parse_s3_url(f"s3://{arn}/{prefix}")

    assert location == S3Location(arn, prefix)
    assert parse_s3_url(location.url) == location


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///data/twaps/", "/data/twaps"),
        ("file://localhost/data", "/data"),
        ("file:/data", "/data"),
        ("file:///a%20b%25", "/a b%"),
        ("file:///a b", "/a b"),
        ("file:///", "/"),
    ],
)
def test_file_url_is_parsed(url: str, path: str) -> None:
    assert parse_file_url(url) == Path(path)


@pytest.mark.fault("D7")
@given(st.text(characters, min_size=1, max_size=40))
@examples(100)
def test_file_url_any_directory_round_trips(name: str) -> None:
    directory = Path("/data") / name.replace("/", "_")

    assert parse_file_url(LocalDirectory(directory).url) == directory


@pytest.mark.parametrize(
    "url",
    ["", "/data", "data", "file:data", "file://host/data", "s3:///a", "s3:bucket/a", "gs://bucket/a", "s3", "s3://"],
)
def test_malformed_url_is_refused_with_expected_forms(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_store(url)

    expected = "expected s3://bucket/prefix/ or file:///absolute/directory/"
    assert str(raised.value) == f"TWAP_SOURCE_URL is {url!r}; {expected}"


@pytest.mark.parametrize("url", ["s3://[bucket/a", "file://[host/a", "s3://]/"])
def test_url_that_urlsplit_rejects_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(url)


@pytest.mark.fault("X2")
@pytest.mark.parametrize("url", ["s3://key:canary@bucket/a", "http://user:canary@host/", "file://user:canary@host/a"])
def test_url_with_credentials_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_store(url)

    assert "canary" not in str(raised.value)
