"""Fetches the latest version of an object; an object that was overwritten since its listing is listed again.

A fetch is bound to the listed version (If-Match), so the bytes always belong to the version that is returned with them.
"""

import hashlib
from dataclasses import dataclass
from typing import IO

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ObjectChangedError, ObjectGoneError
from twap_pipeline.source.base import ObjectStore

MAX_RELISTS = 3
"""How often one fetch lists an overwritten object again, before it fails."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The version that was fetched, whether a checksum of the store verified its bytes, and their SHA-256 in hex."""

    ref: ObjectRef
    checksum_verified: bool
    sha256: str


def fetch_latest(store: ObjectStore, ref: ObjectRef, into: IO[bytes]) -> FetchResult:
    """Write the bytes of the object's latest version to a file and rewind the file.

    Raises:
        ObjectChangedError: The object was overwritten more than `MAX_RELISTS` times during the fetch.
        ObjectError: The object was deleted, refused, or its bytes are not intact.
        SourceError: The store as a whole refused or failed.
        LocalResourceError: This host could not store the bytes.
    """
    for _ in range(MAX_RELISTS):
        try:
            return fetch(store, ref, into)
        except ObjectChangedError:
            ref = _list_again(store, ref.key)
    return fetch(store, ref, into)


def fetch(store: ObjectStore, ref: ObjectRef, file: IO[bytes]) -> FetchResult:
    """Write the bytes of exactly this version to a file and rewind the file.

    Raises:
        ObjectError: The object was overwritten or deleted, or its bytes are not intact.
        SourceError: The store as a whole refused or failed.
    """
    checksum_verified = store.fetch(ref, file)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # IO[bytes] has readinto
    file.seek(0)
    return FetchResult(ref, checksum_verified, sha256)


def _list_again(store: ObjectStore, key: str) -> ObjectRef:
    ref = next(iter(store.list_objects(below=key)), None)  # in key order: the key itself precedes all longer keys
    if ref is None or ref.key != key:
        raise ObjectGoneError(key, "it was overwritten after it was listed, and then deleted")
    return ref
