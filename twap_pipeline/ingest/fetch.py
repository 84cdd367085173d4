"""An object's bytes as the store has them now: one that was overwritten since it was listed is listed again.

A fetch is bound to the listed version, so what comes back is always the bytes of the version that is returned with it.
"""

import hashlib
from dataclasses import dataclass
from typing import IO

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ObjectChangedError, ObjectGoneError
from twap_pipeline.source.base import ObjectStore

MAX_RELISTS = 3
"""An object that is overwritten more often than this while it is being read is left to a later run."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """An object's bytes, described.

    Args:
        ref: The version that was read.
        checksum_verified: Whether a digest of the store's proved the bytes.
        sha256: Of the bytes, in hex.
    """

    ref: ObjectRef
    checksum_verified: bool
    sha256: str


def fetch_latest(store: ObjectStore, ref: ObjectRef, into: IO[bytes]) -> FetchResult:
    """Write the bytes of the object's present version and rewind.

    Args:
        store: Where it lies.
        ref: The version that was listed.
        into: Where to write.

    Raises:
        ObjectChangedError: It was overwritten again and again.
        ObjectError: It is gone, or did not arrive whole.
        SourceError: The store refused or failed.
    """
    for _ in range(MAX_RELISTS):
        try:
            return _described(ref, store.fetch(ref, into), into)
        except ObjectChangedError:
            ref = _listed_now(store, ref.key)
    return _described(ref, store.fetch(ref, into), into)


def _described(ref: ObjectRef, checksum_verified: bool, file: IO[bytes]) -> FetchResult:
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # IO[bytes] has readinto
    file.seek(0)
    return FetchResult(ref, checksum_verified, sha256)


def _listed_now(store: ObjectStore, key: str) -> ObjectRef:
    for ref in store.list_objects(below=key):
        if ref.key == key:
            return ref
        break  # keys come in order, and the key itself is the first of those that begin so
    raise ObjectGoneError(key, "it was overwritten after it was listed, and then deleted")
