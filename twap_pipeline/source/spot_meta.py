"""The exchange's list of spot pairs: the request ``spotMeta`` of its public API.

The response contains tokens with their names, and pairs as two token indexes, the base first:
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/spot. Keep other requests to the
exchange out: orders come from the objects.
"""

import json
from http.client import HTTPException
from typing import Annotated
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from twap_pipeline.errors import ConfigurationError, SourceError, SourceUnavailableError
from twap_pipeline.source.endpoint_policy import require_safe_endpoint

_TIMEOUT_SECONDS = 20
_RESPONSE_BYTES_MAX = 16_000_000
"""A response with 500 tokens has about 0.2 MB."""

_INDEX_MAX = 999_999_999
_Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Token(BaseModel):
    name: _Name
    index: NonNegativeInt


class _Pair(BaseModel):
    index: Annotated[int, Field(ge=0, le=_INDEX_MAX)]
    tokens: tuple[NonNegativeInt, NonNegativeInt]


class _SpotMeta(BaseModel):
    tokens: list[_Token]
    universe: Annotated[list[_Pair], Field(min_length=1)]


class _RefuseRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_arguments: object) -> None:
        """Return None: a redirect is an error, because its target has not been checked."""


def endpoint_name(url: str) -> str:
    """Return scheme and host of an address: the rest may contain a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"


def fetch_spot_pairs(url: str, *, allow_insecure_endpoint: bool = False) -> list[tuple[int, str, str]]:
    """Return index, base and quote of every spot pair that the exchange lists.

    Raises:
        ConfigurationError: The address is not valid, or not allowed.
        SourceUnavailableError: The exchange cannot be reached, or refused the request.
        SourceError: The response is not a valid list of spot pairs.
    """
    _require_valid_url(url, allow_insecure_endpoint=allow_insecure_endpoint)
    body = json.dumps({"type": "spotMeta"}).encode()
    request = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - the scheme is checked above
    try:
        with build_opener(_RefuseRedirects).open(request, timeout=_TIMEOUT_SECONDS) as response:
            content = response.read(_RESPONSE_BYTES_MAX + 1)
    except (OSError, HTTPException, ValueError) as error:
        raise SourceUnavailableError(
            f"cannot read the spot pairs from {endpoint_name(url)}: {_describe(error)}; the recorded names stay as they"
            " are. Repeat the command where the exchange can be reached, or correct TWAP_EXCHANGE_INFO_URL"
        ) from None
    try:
        return parse_spot_meta(content)
    except ValueError as error:
        raise SourceError(
            f"the response of {endpoint_name(url)} is not a valid list of spot pairs: {error}; nothing was recorded."
            " Check TWAP_EXCHANGE_INFO_URL"
        ) from None


def parse_spot_meta(content: bytes) -> list[tuple[int, str, str]]:
    """Return index, base and quote of every pair in a response.

    Raises:
        ValueError: The response is too large, not JSON of the documented form, or contradicts itself.
    """
    if len(content) > _RESPONSE_BYTES_MAX:
        raise ValueError(f"it has more than {_RESPONSE_BYTES_MAX:,} bytes")
    try:
        meta = _SpotMeta.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}") from None
    names = {token.index: token.name for token in meta.tokens}
    if len(names) < len(meta.tokens) or len({pair.index for pair in meta.universe}) < len(meta.universe):
        raise ValueError("an index occurs twice")
    if missing := {token for pair in meta.universe for token in pair.tokens} - names.keys():
        raise ValueError(f"a pair has the token {min(missing)}, which is not listed")
    return [(pair.index, names[pair.tokens[0]], names[pair.tokens[1]]) for pair in meta.universe]


def _require_valid_url(url: str, *, allow_insecure_endpoint: bool) -> None:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ConfigurationError("TWAP_EXCHANGE_INFO_URL is not a valid https URL without user name and password")
    if not allow_insecure_endpoint:
        require_safe_endpoint(url, "the exchange address", "TWAP_EXCHANGE_INFO_URL")


def _describe(error: Exception) -> str:
    """Return the reason of a failed request in a few words, without the address."""
    if isinstance(error, HTTPError):
        return f"HTTP status {error.code}"
    return str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
