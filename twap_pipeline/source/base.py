"""The `ObjectStore` protocol, and `open_store`, which returns the store of a source URL.

To add a store, write a class that implements `FolderStore`, and add its URL scheme to `open_store`. Code that is
specific to one store belongs in that store's module.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample import SampleRequest, generate_sample
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
    """Return the object store of a source URL.

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
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    store: FolderStore
    if scheme == "s3":
        from twap_pipeline.source.s3 import open_bucket  # imports boto3, which takes half a second

        store = open_bucket(
            url, make_s3_client, object_pattern, setting, allow_insecure_endpoint=allow_insecure_endpoint
        )
    elif scheme == "file":
        from twap_pipeline.source.local import LocalDirectory, parse_file_url  # imports this module

        store = LocalDirectory(parse_file_url(url, setting), object_pattern, setting)
    else:
        raise invalid_source_url(url, setting)
    return PrefixStore(store, prefixes) if prefixes else store


def invalid_source_url(url: str, setting: str = SOURCE_SETTING) -> ConfigurationError:
    """Return the error for a URL that no store accepts; a URL that may contain credentials is not quoted."""
    value = repr(url) if "@" not in url else "a URL that contains '@' (not shown)"
    return ConfigurationError(f"{setting} is {value}; expected s3://bucket/prefix/ or file:///absolute/directory/")


def resolve_source_url(
    source_url: str | None, *, has_database: bool, sample_directory: Path, sample: SampleRequest
) -> str:
    """Return the configured source URL, or the URL of the sample, which is generated if it does not exist.

    Args:
        source_url: The configured URL; None when unset.
        has_database: Whether a database is configured. The sample is refused for a configured database.
        sample_directory: Directory of the sample.
        sample: Parameters of the sample if the directory has none.

    Raises:
        ConfigurationError: A database is configured without a source URL.
    """
    if source_url is not None:
        return source_url
    if has_database:
        raise ConfigurationError(
            "DATABASE_URL is set and TWAP_SOURCE_URL is not. The sample contains generated orders, which are only "
            "loaded into the embedded database. Set TWAP_SOURCE_URL=s3://bucket/prefix/ or file:///directory/"
        )
    generate_sample(sample_directory, sample)
    return sample_directory.absolute().as_uri() + "/"


def resolve_fills_url(fills_url: str | None, *, is_sample: bool, sample_directory: Path, sample: SampleRequest) -> str:
    """Return the URL of the fills; if it is that of the sample's fills, the sample is generated if it does not exist.

    Args:
        fills_url: The URL; None if there are no fills.
        is_sample: Whether the fills are those of the sample.
        sample_directory: Directory of the sample.
        sample: Parameters of the sample if the directory has none.

    Raises:
        ConfigurationError: There are no fills.
    """
    if fills_url is None:
        raise ConfigurationError(
            "TWAP_FILLS_URL is not set, so that there are no fills: set it to s3://bucket/ or file:///directory/;"
            " docs/how-to/load-fills.md describes the bucket"
        )
    if is_sample:
        generate_sample(sample_directory, sample)
    return fills_url
