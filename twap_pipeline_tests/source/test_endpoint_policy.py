"""Unit tests of `require_safe_endpoint`."""

import pytest

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.source.endpoint_policy import require_safe_endpoint

pytestmark = pytest.mark.unit


@pytest.mark.fault("X3")
@pytest.mark.parametrize(
    "url",
    [
        "https://s3.us-east-1.amazonaws.com",
        "https://bucket.vpce-1a2b3c4d.s3.us-east-1.vpce.amazonaws.com:443/",
        "https://127.0.0.1:9000",
    ],
)
def test_endpoint_with_tls_is_accepted(url: str) -> None:
    require_safe_endpoint(url)


@pytest.mark.fault("X3")
@pytest.mark.parametrize(
    "url", ["http://s3.amazonaws.com", "http://127.0.0.1:9000", "ftp://host", "s3.amazonaws.com", ""]
)
def test_endpoint_without_tls_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not https.*TWAP_ALLOW_INSECURE_ENDPOINT=true"):
        require_safe_endpoint(url)


@pytest.mark.fault("X3")
@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2:80",
        "2852039166",
        "0xA9FEA9FE",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "metadata.google.internal.",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_metadata_address_in_any_spelling_is_refused(scheme: str, host: str) -> None:
    with pytest.raises(ConfigurationError, match="is an address of a metadata service"):
        require_safe_endpoint(f"{scheme}://{host}/latest")


@pytest.mark.fault("X3")
def test_refusal_does_not_contain_url_credentials() -> None:
    with pytest.raises(ConfigurationError) as refused:
        require_safe_endpoint("http://user:canary@host:9000/?key=canary")

    assert "canary" not in str(refused.value)
