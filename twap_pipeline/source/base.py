"""What the pipeline asks of a place that holds objects, and how a source URL names one.

Two places answer: an S3 bucket (`source.s3`) and a local directory (`source.local`). Code above this floor sees only
the protocol.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ConfigurationError


class ObjectStore(Protocol):
    """A place that lists objects and gives their bytes."""

    @property
    def url(self) -> str:
        """The place as a source URL, without credentials."""

    def list_objects(self, *, below: str = "", after: str = "") -> Iterator[ObjectRef]:
        """Yield the objects in the order of their keys; directory markers and hidden files (``.x``, ``_x``) left out.

        Args:
            below: Only keys that begin so; all of the place's by default.
            after: Only keys behind this one.

        Raises:
            SourceError: The listing could not be completed; what was yielded is then not the whole.
        """

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Write the object's bytes, exactly those that ``ref`` names, and rewind.

        Returns:
            Whether a digest of the store's proved the bytes.

        Raises:
            ObjectError: The object is gone, changed, or did not arrive whole.
            SourceError: The store refused or failed.
        """

    def uri(self, key: str) -> str:
        """Return a URI that names one object."""


_FORMS = "s3://bucket/prefix/ or file:///absolute/directory/"


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket and the prefix below which the objects lie."""

    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """The location as ``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}"


def parse_source_url(url: str) -> S3Location | Path:
    """Return where a source URL points.

    Args:
        url: ``s3://bucket/prefix/`` or ``file:///absolute/directory/``.

    Raises:
        ConfigurationError: It is neither.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"TWAP_SOURCE_URL cannot be read ({error}); expected {_FORMS}") from error
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
        bucket, _, prefix = url.partition("://")[2].partition("/")  # a key may hold ? and #
        return S3Location(bucket, prefix)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return Path(unquote(parts.path))
    shown = url if "@" not in url else f"{parts.scheme}://…"
    raise ConfigurationError(
        f"TWAP_SOURCE_URL is {shown!r}; expected s3://bucket/prefix/ or file:///absolute/directory/"
    )


def is_hidden(key: str) -> bool:
    """Return whether a listing leaves the key out: a directory marker, or a name that starts with ``.`` or ``_``."""
    name = key.rsplit("/", 1)[-1]
    return name == "" or name.startswith((".", "_"))
