"""The `ObjectStore` protocol, and the registry that maps the scheme of a source URL to a store.

To add a store, write a class that implements `FolderStore` and a factory function, then add one row to `STORES`.
Code that is specific to one store belongs in that store's module.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

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


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Arguments of `open_store` that a store's factory may use.

    Args:
        make_s3_client: Returns a configured boto3 S3 client; None for the default client.
        allow_insecure_endpoint: Whether an endpoint without TLS is accepted.
        object_pattern: Shell pattern of the names of data objects.
        setting: Name of the setting that contains the URL, for error messages.
    """

    make_s3_client: "Callable[[], S3Client] | None" = None
    allow_insecure_endpoint: bool = False
    object_pattern: str = EVERY_NAME
    setting: str = SOURCE_SETTING


class StoreScheme(NamedTuple):
    """One row of the registry.

    Args:
        example: Form of the URLs, for error messages.
        factory: ``module:function``. The function has the signature ``(url: str, options: StoreOptions) ->
            FolderStore``. The module is imported on first use, so one store's dependencies do not slow down another.
    """

    example: str
    factory: str


STORES: dict[str, StoreScheme] = {
    "s3": StoreScheme("s3://bucket/prefix/", "twap_pipeline.source.s3:open_bucket"),
    "file": StoreScheme("file:///absolute/directory/", "twap_pipeline.source.local:open_directory"),
}
"""Registry of the stores, by URL scheme."""


def open_store(
    url: str,
    *,
    object_pattern: str = EVERY_NAME,
    make_s3_client: "Callable[[], S3Client] | None" = None,
    allow_insecure_endpoint: bool = False,
    prefixes: Sequence[str] = (),
    setting: str = SOURCE_SETTING,
) -> ObjectStore:
    """Return the object store of a source URL.

    Args:
        url: A URL in one of the forms listed in `STORES`.
        object_pattern: Shell pattern of the names of data objects; every name by default.
        make_s3_client: Called only for ``s3`` URLs; `source.s3.make_s3_client` by default.
        allow_insecure_endpoint: Accept S3 endpoints without TLS, for development.
        prefixes: List these folders only: see `prefixes.PrefixStore`; every key by default.
        setting: Name of the setting that contains the URL, for error messages.

    Raises:
        ConfigurationError: The scheme is unknown, the URL is malformed, or the S3 endpoint is refused.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme not in STORES:
        raise invalid_source_url(url, setting)
    factory: Callable[[str, StoreOptions], FolderStore] = resolve_name(STORES[scheme].factory)
    store = factory(url, StoreOptions(make_s3_client, allow_insecure_endpoint, object_pattern, setting))
    return PrefixStore(store, prefixes) if prefixes else store


def invalid_source_url(url: str, setting: str = SOURCE_SETTING) -> ConfigurationError:
    """Return the error for a URL that no store accepts; a URL that may contain credentials is not quoted."""
    value = repr(url) if "@" not in url else "a URL that contains '@' (not shown)"
    expected = " or ".join(scheme.example for scheme in STORES.values())
    return ConfigurationError(f"{setting} is {value}; expected {expected}")
