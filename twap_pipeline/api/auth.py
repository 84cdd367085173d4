"""Who may ask, and how often: the guard before every route of data.

Here belong the key's place in a request and the two refusals. Keys are `keys`, buckets `rate_limit`. Both guards are
coroutines, so that they run in the server's one thread: buckets need no lock, and no request waits for another thread.
"""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.keys import matching_hash
from twap_pipeline.api.state import state_of

_bearer = HTTPBearer(
    auto_error=False,
    description="An API key, where the operator asks for one: `Authorization: Bearer twap_…`.",
)


async def require_key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str | None:
    """Return the hash of the caller's key; None where none is asked for.

    Raises:
        ProblemError: 401, a key is asked for and none, or no known one, was given.
    """
    hashes = state_of(request).key_hashes
    if not hashes:
        return None
    found = matching_hash(credentials.credentials, hashes) if credentials else None
    if found is None:
        detail = "Give a known API key: Authorization: Bearer KEY."
        raise ProblemError(Problem(401, "Authentication required", detail, headers={"WWW-Authenticate": "Bearer"}))
    return found


async def enforce_rate_limit(request: Request, key_hash: Annotated[str | None, Depends(require_key)]) -> None:
    """Let a caller through, by key or else by address, as often as it may ask.

    Raises:
        ProblemError: 429, it asked too often.
    """
    limit = state_of(request).rate_limit
    if limit is None:
        return
    address = request.client.host if request.client else "-"
    if wait := limit.seconds_to_wait(key_hash or address):
        raise ProblemError(Problem(429, "Too many requests", "Ask again after the seconds in Retry-After.", wait))
