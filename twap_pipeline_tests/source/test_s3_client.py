"""The S3 client: region, retries, endpoints, access points, and errors of the AWS configuration.

Creating a client loads the description of S3, which takes a tenth of a second: these are no unit tests.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from twap_pipeline.errors import ConfigurationError, SourceAccessError, SourceUnavailableError
from twap_pipeline.source.base import open_store
from twap_pipeline.source.s3 import REQUEST_RETRIES, S3Bucket, configured_region, make_s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def test_open_store_s3_url_returns_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    store = open_store("s3://bucket/raw/")

    assert isinstance(store, S3Bucket)
    assert store.url == "s3://bucket/raw/"


@pytest.mark.fault("X3")
@pytest.mark.parametrize("endpoint", ["http://169.254.169.254", "http://s3.example.com"])
def test_open_store_insecure_endpoint_needs_permission(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)

    with pytest.raises(ConfigurationError, match="TWAP_ALLOW_INSECURE_ENDPOINT"):
        open_store("s3://twap/raw/")

    assert open_store("s3://twap/raw/", allow_insecure_endpoint=True).url == "s3://twap/raw/"


def test_make_s3_client_reads_region_and_bounds_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    client = make_s3_client()

    assert client.meta.region_name == "eu-west-1"
    assert client.meta.config.retries["total_max_attempts"] == 1 + REQUEST_RETRIES  # type: ignore[attr-defined]


@pytest.mark.fault("S8")
@pytest.mark.parametrize(
    ("arn", "host"),
    [
        (
            "arn:aws:s3:us-east-1:123456789012:accesspoint/twap",
            "twap-123456789012.s3-accesspoint.us-east-1.amazonaws.com",
        ),
        (
            "arn:aws:s3-outposts:us-east-1:123456789012:outpost/op-01234567890123456/accesspoint/twap",
            "twap-123456789012.op-01234567890123456.s3-outposts.us-east-1.amazonaws.com",
        ),
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
    assert configured_region() == "eu-west-3"

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert configured_region() == "eu-west-2"

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
