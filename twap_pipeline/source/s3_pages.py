"""Pages of an S3 listing: their objects or folders, and refusal of a page that is not complete.

A response that lacks keys would pass for the end of the listing: its objects would not be loaded, without an error.
"""

from datetime import UTC
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from twap_pipeline.domain.object_ref import ObjectRef

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef


class IncompletePageError(Exception):
    """A page of a listing does not contain what it must contain."""


def parse_page(page: "ListObjectsV2OutputTypeDef", prefix: str, after: str) -> tuple[list[ObjectRef], str]:
    """Return the objects of a page and its last key, in which bytes that are not UTF-8 are surrogates.

    Raises:
        IncompletePageError: The response is not a listing, or has fewer keys than it declares, or its keys are not
            in order below the prefix, or an entry lacks a value.
    """
    _require_all_keys(page)
    refs = []
    for item in page.get("Contents", []):
        if missing := {"Key", "ETag", "LastModified", "Size"} - set(item):
            raise IncompletePageError(f"the entry of {item.get('Key')!r} has no {min(missing)}")
        key = _decode(page, item["Key"])
        _require_order(key, prefix, after)
        modified = item["LastModified"]  # UTC, also if the store omits the zone
        modified = modified.astimezone(UTC) if modified.tzinfo else modified.replace(tzinfo=UTC)
        refs.append(ObjectRef(key, item["ETag"].strip('"'), modified, item["Size"]))
        after = key
    return refs, after


def parse_folders(page: "ListObjectsV2OutputTypeDef", prefix: str, after: str) -> tuple[list[str], str]:
    """Return the folders of a page of a listing with a delimiter, and the last one; objects are left out.

    Raises:
        IncompletePageError: See `parse_page`.
    """
    _require_all_keys(page)
    folders = []
    for item in page.get("CommonPrefixes", []):
        folder = _decode(page, item["Prefix"])
        _require_order(folder, prefix, after)
        folders.append(folder)
        after = folder
    return folders, after


def _require_all_keys(page: "ListObjectsV2OutputTypeDef") -> None:
    """Raise `IncompletePageError` if the response is not a listing, or lacks the next token or declared keys."""
    if "IsTruncated" not in page:
        status = page["ResponseMetadata"]["HTTPStatusCode"]
        raise IncompletePageError(f"the response (HTTP {status}) is not a ListBucketResult")
    if page["IsTruncated"] and not page.get("NextContinuationToken"):
        raise IncompletePageError("it declares that another page follows, and has no token for it")
    count = len(page.get("Contents", [])) + len(page.get("CommonPrefixes", []))
    if (declared := page.get("KeyCount", count)) != count:
        raise IncompletePageError(f"it declares {declared} keys and contains {count}")


def _require_order(key: str, prefix: str, after: str) -> None:
    """Raise `IncompletePageError` unless a key follows the one before and is below the prefix."""
    if _order(key) <= _order(after) or not key.startswith(prefix):
        raise IncompletePageError(f"{key!r} follows {after!r}: the keys are not in order below the prefix")


def _decode(page: "ListObjectsV2OutputTypeDef", key: str) -> str:
    """Return a key of a page; bytes that are not UTF-8 become surrogates."""
    return unquote_plus(key, errors="surrogateescape") if page.get("EncodingType") == "url" else key


def _order(key: str) -> bytes:
    """Return what S3 sorts by: the UTF-8 bytes of the key."""
    return key.encode("utf-8", "surrogateescape")
