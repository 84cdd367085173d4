"""Authentication by API key and the rate limit, as FastAPI dependencies.

Both dependencies are coroutines: they run in the event loop's thread, so the rate limit needs no lock. Keys are in
`keys`, the token bucket is in `rate_limit`.
"""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.keys import matching_hash
from twap_pipeline.api.state import state_of

_bearer = HTTPBearer(
    auto_error=False,
    description="An API key, if the operator requires one: `Authorization: Bearer twap_…`.",
)


async def require_key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str | None:
    """Return the hash of the request's API key; None if the operator requires no keys.

    Raises:
        ProblemError: 401, the key is missing or unknown.
    """
    hashes = state_of(request).key_hashes
    if not hashes:
        return None
    key_hash = matching_hash(credentials.credentials, hashes) if credentials else None
    if key_hash is None:
        detail = "Send a valid API key in the header `Authorization: Bearer KEY`."
        raise ProblemError(Problem(401, "Authentication required", detail, headers={"WWW-Authenticate": "Bearer"}))
    return key_hash


async def enforce_rate_limit(request: Request, key_hash: Annotated[str | None, Depends(require_key)]) -> None:
    """Count the request for its API key, or for its client address without a key.

    Raises:
        ProblemError: 429, the rate limit is exceeded.
    """
    limit = state_of(request).rate_limit
    if limit is None:
        return
    address = request.client.host if request.client else "-"
    if wait_seconds := limit.seconds_to_wait(key_hash or address):
        detail = "Repeat the request after the number of seconds in `Retry-After`."
        raise ProblemError(Problem(429, "Too many requests", detail, wait_seconds))
