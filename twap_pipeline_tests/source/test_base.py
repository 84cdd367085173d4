"""Unit tests of the store registry, the source URLs and `resolve_source_url`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ConfigurationError, SourceAccessError, SourceUnavailableError
from twap_pipeline.sample import SampleRequest
from twap_pipeline.source import base
from twap_pipeline.source.base import (
    STORES,
    ObjectStore,
    StoreOptions,
    StoreScheme,
    open_store,
    resolve_source_url,
)
from twap_pipeline.source.local import LocalDirectory, parse_file_url
from twap_pipeline.source.s3 import (
    REQUEST_RETRIES,
    S3Bucket,
    S3Location,
    configured_region,
    make_s3_client,
    parse_s3_url,
)
from twap_pipeline.source.selection import SkippedObjects
from twap_pipeline_tests.hypothesis_profiles import examples

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.unit

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


class MemoryStore:
    """A minimal store, for the registry."""

    def __init__(self, url: str) -> None:
        self.url = url

    def list_objects(
        self, *, below: str = "", after: str = "", skipped: SkippedObjects | None = None
    ) -> Iterator[ObjectRef]:
        yield from ()

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        raise AssertionError("no test fetches from this store")

    def uri(self, key: str) -> str:
        return self.url + key


def open_memory(url: str, _options: StoreOptions) -> ObjectStore:
    return MemoryStore(url)


def test_open_store_file_url_returns_local_directory(tmp_path: Path) -> None:
    store = open_store(f"{tmp_path.as_uri()}/")

    assert isinstance(store, LocalDirectory)
    assert store.url == f"{tmp_path.as_uri()}/"


def test_open_store_s3_url_returns_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    store = open_store("s3://bucket/raw/")

    assert isinstance(store, S3Bucket)
    assert store.url == "s3://bucket/raw/"


def test_open_store_unknown_scheme_lists_known_ones() -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_store("gs://bucket/a")

    assert "'gs://bucket/a'" in str(raised.value)
    assert all(scheme.example in str(raised.value) for scheme in STORES.values())


def test_open_store_registered_scheme_uses_its_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError):
        open_store("memory://name/")

    monkeypatch.setitem(STORES, "memory", StoreScheme("memory://name/", f"{__name__}:open_memory"))

    assert isinstance(open_store("memory://name/"), MemoryStore)
    with pytest.raises(ConfigurationError, match="memory://name/"):
        open_store("gs://bucket/a")


@pytest.mark.fault("X3")
@pytest.mark.parametrize("endpoint", ["http://169.254.169.254", "http://s3.example.com"])
def test_open_store_insecure_endpoint_needs_permission(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)

    with pytest.raises(ConfigurationError, match="TWAP_ALLOW_INSECURE_ENDPOINT"):
        open_store("s3://twap/raw/")

    assert open_store("s3://twap/raw/", allow_insecure_endpoint=True).url == "s3://twap/raw/"


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_make_s3_client_reads_region_and_bounds_retries(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "eu-west-1")

    client = make_s3_client()

    assert client.meta.region_name == "eu-west-1"
    assert client.meta.config.retries["total_max_attempts"] == 1 + REQUEST_RETRIES  # type: ignore[attr-defined]


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


@pytest.mark.fault("S8")
@pytest.mark.parametrize(
    ("arn", "host"),
    [
        (ACCESS_POINTS[0], "twap-123456789012.s3-accesspoint.us-east-1.amazonaws.com"),
        (ACCESS_POINTS[4], "twap-123456789012.op-01234567890123456.s3-outposts.us-east-1.amazonaws.com"),
    ],
)
def test_open_store_access_point_requests_its_host(monkeypatch: pytest.MonkeyPatch, arn: str, host: str) -> None:
    hosts: list[str | None] = []
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    def make_client() -> "S3Client":
        client = make_s3_client()

        def respond(request: AWSPreparedRequest, **_: object) -> Any:
            hosts.append(urlsplit(request.url).hostname)
            return AWSResponse(request.url, 200, HTTPHeaders(), HTTPResponse(b"", preload_content=False))

        client.meta.events.register("before-send.s3.ListObjectsV2", respond)
        return client

    with pytest.raises(SourceUnavailableError):
        list(open_store(f"s3://{arn}/raw/", make_s3_client=make_client).list_objects())

    assert hosts == [host]


@pytest.mark.fault("S8")
@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_configured_region_reads_both_variables(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "eu-west-1")

    assert configured_region() == "eu-west-1"


@pytest.mark.fault("S8")
def test_configured_region_aws_region_wins_over_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\nregion = eu-west-3\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert configured_region() == make_s3_client().meta.region_name == "eu-west-3"

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert configured_region() == make_s3_client().meta.region_name == "eu-west-2"

    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert configured_region() == make_s3_client().meta.region_name == "eu-west-1"


KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
SSO_PROFILE = """[profile sso]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Reader
[sso-session corp]
sso_region = us-east-1
sso_start_url = https://example.awsapps.com/start
"""


@pytest.mark.fault("S8")
@pytest.mark.parametrize(
    ("config", "environment", "advice"),
    [
        ("", {"AWS_PROFILE": "nobody"}, r"\(nobody\) could not be found; correct AWS_PROFILE"),
        ("", {**KEYS, "AWS_ENDPOINT_URL": "user:canary@minio:9000"}, "not a URL; set AWS_ENDPOINT_URL to https://"),
        ("", {**KEYS, "AWS_ENDPOINT_URL_S3": "minio:9000/x y"}, "not a URL; set AWS_ENDPOINT_URL to https://"),
        (SSO_PROFILE, {"AWS_PROFILE": "sso"}, "sign in again: `aws sso login`"),
        ("[profile p]\ncredential_process = /bin/false\n", {"AWS_PROFILE": "p"}, "run the credential_process"),
        ("[profile p]\ncredential_process = /no/program\n", {"AWS_PROFILE": "p"}, "/no/program"),
        ("[profile p]\ncredential_process = echo\n", {"AWS_PROFILE": "p"}, "run the credential_process"),
        ("[profile p]\nrole_arn = arn:aws:iam::1:role/x\ncredential_source = X\n", {"AWS_PROFILE": "p"}, "profile"),
        ("[default\nregion=us-east-1\n", KEYS, "config; correct this file"),
        ("", {**KEYS, "AWS_REGION": "us east 1"}, "'us east 1'.*; set AWS_REGION to a region"),
        ("", {"AWS_ACCESS_KEY_ID": "a"}, "missing: AWS_SECRET_ACCESS_KEY; set AWS_PROFILE, or.*both of them"),
        ("", {**KEYS, "AWS_CA_BUNDLE": "/no/ca.pem"}, "AWS_CA_BUNDLE.*/no/ca.pem, which does not exist"),
        ("[default]\nca_bundle = /no/ca.pem\n", KEYS, "ca_bundle.*/no/ca.pem, which does not exist"),
        ("", {**KEYS, "AWS_DEFAULTS_MODE": "odd"}, "odd.*; correct the AWS environment variables"),
        ("", {}, "Unable to locate credentials; set AWS_PROFILE"),
    ],
)
def test_aws_configuration_error_is_one_line_with_advice(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    config: str,
    environment: dict[str, str],
    advice: str,
) -> None:
    """Errors of the configuration occur when a client is made or at its first request; both are translated."""
    (tmp_path / "config").write_text(config)
    defaults = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    unreachable = {
        "AWS_ENDPOINT_URL": "https://127.0.0.1:9",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(tmp_path),
    }
    for name, value in {**defaults, **unreachable, **environment}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises((ConfigurationError, SourceAccessError), match=advice) as raised:
        list(open_store("s3://bucket/raw/").list_objects())

    assert "\n" not in str(raised.value)
    assert "canary" not in str(raised.value)


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
    with pytest.raises(ConfigurationError, match="expected s3://bucket/prefix/ or file:///absolute/directory/"):
        open_store(url)


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


SAMPLE = SampleRequest(datetime(2025, 8, 31, tzinfo=UTC))


def test_source_url_configured_is_returned(tmp_path: Path) -> None:
    url = resolve_source_url("s3://bucket/", has_database=True, sample_directory=tmp_path / "sample", sample=SAMPLE)

    assert url == "s3://bucket/"
    assert not (tmp_path / "sample").exists()


def test_source_url_unset_with_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"TWAP_SOURCE_URL is not.*Set TWAP_SOURCE_URL="):
        resolve_source_url(None, has_database=True, sample_directory=tmp_path / "sample", sample=SAMPLE)

    assert not (tmp_path / "sample").exists()


def test_source_url_unset_generates_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generated: list[tuple[Path, SampleRequest]] = []
    monkeypatch.setattr(base, "generate_sample", lambda *arguments: generated.append(arguments))

    url = resolve_source_url(None, has_database=False, sample_directory=tmp_path / "sample", sample=SAMPLE)

    assert url == f"{tmp_path.as_uri()}/sample/"
    assert generated == [(tmp_path / "sample", SAMPLE)]
