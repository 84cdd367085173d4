"""The exchange's list of spot pairs: the request, the validation of the response, and the errors."""

import json
from typing import Any

import pytest

from twap_pipeline.errors import ConfigurationError, SourceError, SourceUnavailableError
from twap_pipeline.source.spot_meta import fetch_spot_pairs, parse_spot_meta
from twap_pipeline_tests.source.exchange import SPOT_META, exchange_server

NOTHING_LISTENS = "http://127.0.0.1:1/info?key=canary"


def changed(**fields: object) -> dict[str, Any]:
    return {**SPOT_META, **fields}


def test_spot_meta_of_the_exchange_is_resolved_to_names() -> None:
    with exchange_server() as url:
        assert fetch_spot_pairs(url, allow_insecure_endpoint=True) == [(107, "HYPE", "USDC"), (232, "HYPE", "USDH")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "the body: Invalid JSON"),
        ([], "the body: Input should be an object"),
        (changed(universe=[]), "universe: List should have at least 1 item"),
        (changed(universe=[{"index": 1, "tokens": [150]}]), "universe.0.tokens.1: Field required"),
        (changed(universe=[{"index": "1", "tokens": [150, 0]}]), "universe.0.index: Input should be a valid integer"),
        (changed(universe=[{"index": 1, "tokens": [7, 0]}]), "a pair has the token 7, which is not listed"),
        (changed(universe=SPOT_META["universe"] * 2), "an index occurs twice"),
        (changed(tokens=SPOT_META["tokens"] * 2), "an index occurs twice"),
        (changed(tokens=[{"name": "A\0", "index": 0}]), "tokens.0.name: String should match pattern"),
        (b" " * 16_000_001, "it has more than 16,000,000 bytes"),
    ],
)
def test_spot_meta_that_is_not_valid_is_refused(body: object, message: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    with pytest.raises(ValueError, match=message):
        parse_spot_meta(content)


def test_spot_meta_invalid_response_names_the_host_only() -> None:
    with exchange_server(b"<html>") as url, pytest.raises(SourceError, match="nothing was recorded") as raised:
        fetch_spot_pairs(url, allow_insecure_endpoint=True)

    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "HTTP status 500"), (302, "HTTP status 302"), (307, "status 307")]
)
def test_spot_meta_refused_request_is_unavailable(status: int, reason: str) -> None:
    with exchange_server(status=status) as url, pytest.raises(SourceUnavailableError, match=reason):
        fetch_spot_pairs(url, allow_insecure_endpoint=True)


def test_spot_meta_offline_is_one_line_without_the_path() -> None:
    with pytest.raises(SourceUnavailableError, match=r"127\.0\.0\.1: .*Connection refused.*recorded names") as raised:
        fetch_spot_pairs(NOTHING_LISTENS, allow_insecure_endpoint=True)

    assert "canary" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (NOTHING_LISTENS, "the exchange address http://127.0.0.1 is not https.*correct TWAP_EXCHANGE_INFO_URL"),
        ("https://169.254.169.254/info", "metadata service"),
        ("ftp://host/info", "not a valid https URL"),
        ("https://user:canary@host/info", "not a valid https URL"),
        ("https://[/info", "not a valid https URL"),
        ("https://host:port/info", "not a valid https URL"),
        ("", "not a valid https URL"),
    ],
)
def test_spot_meta_address_that_is_not_allowed_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        fetch_spot_pairs(url)

    assert "canary" not in str(raised.value)
