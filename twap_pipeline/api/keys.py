"""API keys: made here, to_json_value to their owner once, and kept by the server only as hashes.

A key is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess.
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
    """Return what the server keeps of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def matching_hash(key: str, hashes: Sequence[str]) -> str | None:
    """Return the hash of this key if it is among these; takes as long whichever it is."""
    given = hash_key(key)
    matches = [known for known in hashes if hmac.compare_digest(known, given)]
    return matches[0] if matches else None
