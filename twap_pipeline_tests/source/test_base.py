"""A source URL names a bucket or a directory to the letter, or is refused without showing a secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.source.base import S3Location, is_hidden, parse_source_url
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.hypothesis_profiles import examples

pytestmark = pytest.mark.unit

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://artemis-hyperliquid-data/raw/twap_statuses/", "artemis-hyperliquid-data", "raw/twap_statuses/"),
        ("s3://bucket/raw", "bucket", "raw"),
        ("s3://bucket//a", "bucket", "/a"),
        ("s3://bucket/a b+c%25/?x=1#y/", "bucket", "a b+c%25/?x=1#y/"),
        ("s3://bucket/a@b/", "bucket", "a@b/"),
        ("s3://bucket/😀/", "bucket", "😀/"),
    ],
)
def test_an_s3_url_is_a_bucket_and_a_prefix_to_the_letter(url: str, bucket: str, prefix: str) -> None:
    assert parse_source_url(url) == S3Location(bucket, prefix)


@pytest.mark.fault("D7")
@given(st.text(characters, max_size=40).filter(lambda prefix: prefix == prefix.strip()))
@examples(100)
def test_any_prefix_goes_round_through_its_url(prefix: str) -> None:
    location = S3Location("bucket", prefix)

    assert parse_source_url(location.url) == location


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
def test_a_file_url_is_a_directory(url: str, path: str) -> None:
    assert parse_source_url(url) == Path(path)


@pytest.mark.fault("D7")
@given(st.text(characters, min_size=1, max_size=40))
@examples(100)
def test_any_directory_goes_round_through_its_url(name: str) -> None:
    directory = Path("/data") / name.replace("/", "_")

    assert parse_source_url(LocalDirectory(directory).url) == directory


@pytest.mark.parametrize(
    "url",
    ["", "/data", "data", "file:data", "file://host/data", "s3:///a", "s3:bucket/a", "gs://bucket/a", "s3", "s3://"],
)
def test_any_other_url_is_refused_with_the_form_that_is_expected(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected s3://bucket/prefix/ or file:///absolute/directory/"):
        parse_source_url(url)


@pytest.mark.parametrize("url", ["s3://[bucket/a", "file://[host/a", "s3://]/"])
def test_a_url_that_python_cannot_split_is_a_wrong_setting_too(url: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_source_url(url)


@pytest.mark.fault("X2")
@pytest.mark.parametrize("url", ["s3://key:canary@bucket/a", "http://user:canary@host/", "file://user:canary@host/a"])
def test_credentials_in_a_url_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_source_url(url)

    assert "canary" not in str(raised.value)


@pytest.mark.fault("D7")
@pytest.mark.parametrize("key", ["a/", "", "/", "a/.hidden", ".hidden", "a/_SUCCESS", "_metadata", "a/.part.crc"])
def test_markers_and_hidden_files_are_skipped(key: str) -> None:
    assert is_hidden(key)


@pytest.mark.fault("D7")
@pytest.mark.parametrize("key", ["a", "a/b", "_a/b", ".a/b", "a/b.", "a/b_", "a//b", " ", "é", "😀", "%2F", "a+b"])
def test_no_other_key_is_skipped(key: str) -> None:
    assert not is_hidden(key)
