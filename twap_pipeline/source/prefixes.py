"""A store that lists only some folders (key prefixes) of another store.

A prefix can contain `*` for one folder level. The folders are listed at each listing, so that a new folder needs no
change of the settings. Which prefixes a data set has is a setting.
"""

from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

from twap_pipeline.domain.object_ref import ObjectRef, remove_covered_prefixes
from twap_pipeline.source.selection import SkippedObjects

if TYPE_CHECKING:
    from twap_pipeline.source.base import FolderStore

ANY_FOLDER = "*"
"""The segment of a prefix that stands for every folder of its level."""


class PrefixStore:
    """The objects of a store whose keys start with one of several prefixes.

    Args:
        store: The store.
        prefixes: Folders below the source's own prefix, each with a slash at its end: ``by_dex/*/fills/``.
    """

    def __init__(self, store: "FolderStore", prefixes: Sequence[str]) -> None:
        self._store = store
        self._prefixes = [store.key_prefix + prefix for prefix in prefixes]

    @property
    def url(self) -> str:
        """The URL of the store; the prefixes are not part of it."""
        return self._store.url

    def uri(self, key: str) -> str:
        """Return the URI of an object."""
        return self._store.uri(key)

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Fetch an object from the store; see `ObjectStore.fetch`."""
        return self._store.fetch(ref, into)

    def list_objects(
        self, *, below: str = "", after: str = "", skipped: SkippedObjects | None = None
    ) -> Iterator[ObjectRef]:
        """Yield the objects of all prefixes in key order; see `ObjectStore.list_objects`.

        Sends one more LIST request per ``*``, unless ``below`` names the folder.
        """
        expanded = (prefix for pattern in self._prefixes for prefix in self._expand(pattern, below))
        for prefix in remove_covered_prefixes(expanded):
            if prefix > after or after.startswith(prefix):  # otherwise all of its keys are before
                yield from self._store.list_objects(below=prefix, after=after, skipped=skipped)

    def _expand(self, prefix: str, below: str) -> Iterator[str]:
        """Yield the prefixes of the keys below ``below``: each ``*`` is a folder of the store, or that of ``below``."""
        head, star, tail = prefix.partition(ANY_FOLDER)
        if not (head.startswith(below) or below.startswith(head)):
            return
        if not star:
            yield max(prefix, below, key=len)
            return
        name, is_folder, _ = below.removeprefix(head).partition("/")
        is_named = below.startswith(head) and is_folder
        for folder in [f"{head}{name}/"] if is_named else self._store.list_folders(head):
            yield from self._expand(folder + tail.removeprefix("/"), below)
