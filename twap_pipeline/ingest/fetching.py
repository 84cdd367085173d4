"""An object's bytes as the store has them now: one that was overwritten since it was listed is listed again.

A fetch is bound to the listed version, so what comes back is always the bytes of the version that is returned with it.
"""

from typing import IO

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ObjectChangedError, ObjectGoneError
from twap_pipeline.source.object_store import ObjectStore

LISTINGS_AGAIN_MAX = 3
"""An object that is overwritten more often than this while it is being read is left to a later run."""


def fetch_present(store: ObjectStore, ref: ObjectRef, into: IO[bytes]) -> tuple[ObjectRef, bool]:
    """Write the bytes of the object's present version and rewind.

    Args:
        store: Where it lies.
        ref: The version that was listed.
        into: Where to write.

    Returns:
        The version that was read, and whether a digest of the store's proved its bytes.

    Raises:
        ObjectChangedError: It was overwritten again and again.
        ObjectError: It is gone, or did not arrive whole.
        SourceError: The store refused or failed.
    """
    for _ in range(LISTINGS_AGAIN_MAX):
        try:
            return ref, store.fetch(ref, into)
        except ObjectChangedError:
            ref = _listed_now(store, ref.key)
    return ref, store.fetch(ref, into)


def _listed_now(store: ObjectStore, key: str) -> ObjectRef:
    for ref in store.list_objects(below=key):
        if ref.key == key:
            return ref
        break  # keys come in order, and the key itself is the first of those that begin so
    raise ObjectGoneError(key, "it was overwritten after it was listed, and then deleted")
