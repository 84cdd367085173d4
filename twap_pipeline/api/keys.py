"""Creates, hashes and compares API keys. The server stores only hashes.

A key has 256 random bits, so one round of SHA-256 is sufficient: a guess is infeasible.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence

_PREFIX = "twap_"


def make_key() -> tuple[str, str]:
    """Return a new key and its hash (64 hex digits)."""
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, hash_key(key)


def hash_key(key: str) -> str:
    """Return the SHA-256 of a key as 64 hex digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def matching_hash(key: str, hashes: Sequence[str]) -> str | None:
    """Return the hash of ``key`` if ``hashes`` contains it, else None. The duration does not depend on the result."""
    key_hash = hash_key(key)
    matches = [known for known in hashes if hmac.compare_digest(known, key_hash)]
    return matches[0] if matches else None
