"""The `ObjectStore` protocol, and the function that opens the store of a source URL.

To add a store, write a class that implements `FolderStore`, then add its URL scheme to `open_store` and
`invalid_source_url`. Code that is specific to one store belongs in that store's module.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Protocol

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.source.prefixes import PrefixStore
from twap_pipeline.source.selection import EVERY_NAME, SkippedObjects

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


SOURCE_SETTING = "TWAP_SOURCE_URL"

URL_SETTINGS = {TWAP_STATUS.name: SOURCE_SETTING, TWAP_FILLS.name: "TWAP_FILLS_URL"}
"""Name of a data set → the setting of the URL of its objects, for error messages."""


class ObjectStore(Protocol):
    """Lists objects and reads their bytes."""

    @property
    def url(self) -> str:
        """The source URL, without credentials."""

    def list_objects(
        self, *, below: str = "", after: str = "", skipped: SkippedObjects | None = None
    ) -> Iterator[ObjectRef]:
        """Yield the data objects in key order; which objects are data is decided by `selection.skip_reason`.

        Args:
            below: Only keys with this prefix; all keys of the source by default.
            after: Only keys greater than this key.
            skipped: Receives the objects that are not data.

        Raises:
            SourceError: The listing failed. The objects yielded so far are not all of them.
        """

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Write the bytes of the version that ``ref`` names, then rewind ``into``.

        Returns:
            Whether a checksum of the store verified the bytes.

        Raises:
            ObjectError: The object is deleted, overwritten, refused, or was not received completely.
            SourceError: The store as a whole refused the request or failed.
            LocalResourceError: This host could not write the bytes.
        """

    def uri(self, key: str) -> str:
        """Return a URI of one object."""


class FolderStore(ObjectStore, Protocol):
    """An object store that can list the folders of its keys."""

    @property
    def key_prefix(self) -> str:
        """Start of every key of the source; empty, or a folder."""

    def list_folders(self, below: str) -> Iterator[str]:
        """Yield the keys of the folders directly below a folder, each with a slash at its end, in key order.

        Args:
            below: Key of the folder with a slash at its end; empty for the keys' root.

        Raises:
            SourceError: The listing failed.
        """


def open_store(
    url: str,
    *,
    object_pattern: str = EVERY_NAME,
    make_s3_client: "Callable[[], S3Client] | None" = None,
    allow_insecure_endpoint: bool = False,
    prefixes: Sequence[str] = (),
    setting: str = SOURCE_SETTING,
) -> ObjectStore:
    """Return the object store of a source URL; the modules of the other stores are not imported.

    Args:
        url: ``s3://bucket/prefix/`` or ``file:///absolute/directory/``.
        object_pattern: Shell pattern of the names of data objects; every name by default.
        make_s3_client: Called only for ``s3`` URLs; `source.s3.make_s3_client` by default.
        allow_insecure_endpoint: Accept S3 endpoints without TLS, for development.
        prefixes: List these folders only: see `prefixes.PrefixStore`; every key by default.
        setting: Name of the setting that contains the URL, for error messages.

    Raises:
        ConfigurationError: The scheme is unknown, the URL is malformed, or the S3 endpoint is refused.
    """
    store: FolderStore
    scheme = url.partition(":")[0].lower()
    if scheme == "s3":
        from twap_pipeline.source.s3 import open_bucket

        store = open_bucket(
            url, object_pattern, make_s3_client, setting, allow_insecure_endpoint=allow_insecure_endpoint
        )
    elif scheme == "file":
        from twap_pipeline.source.local import LocalDirectory, parse_file_url

        store = LocalDirectory(parse_file_url(url, setting), object_pattern, setting)
    else:
        raise invalid_source_url(url, setting)
    return PrefixStore(store, prefixes) if prefixes else store


def invalid_source_url(url: str, setting: str = SOURCE_SETTING) -> ConfigurationError:
    """Return the error for a URL that no store accepts; a URL that may contain credentials is not quoted."""
    value = repr(url) if "@" not in url else "a URL that contains '@' (not shown)"
    return ConfigurationError(f"{setting} is {value}; expected s3://bucket/prefix/ or file:///absolute/directory/")
