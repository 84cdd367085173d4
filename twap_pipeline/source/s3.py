"""Object store of a requester-pays S3 bucket.

Every request sends ``RequestPayer``. A GET sends ``If-Match`` with the listed ETag, and its bytes are compared with
the store's checksum. A GET whose body breaks off is repeated: boto3 retries requests, but not a body that stops.
"""

import hashlib
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.session import Session

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ConfigurationError, ObjectCorruptError, ObjectError, SourceUnavailableError
from twap_pipeline.source.base import SOURCE_SETTING, invalid_source_url
from twap_pipeline.source.endpoint_policy import require_safe_endpoint
from twap_pipeline.source.s3_errors import translate_errors
from twap_pipeline.source.s3_pages import IncompletePageError, parse_folders, parse_page
from twap_pipeline.source.selection import EVERY_NAME, SkippedObjects, select_objects

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, ListObjectsV2OutputTypeDef

REQUEST_RETRIES = 3
"""botocore's retries of one request (mode ``standard``): a failing request is sent at most four times."""

GET_ATTEMPTS = 3
"""Maximum number of GET requests of one object whose body is incomplete or corrupt."""

GET_DEADLINE_SECONDS = 300.0
"""Time limit of all GET attempts of one object; a slow body is aborted."""

_CHUNK_BYTES = 1 << 18
_MD5_ETAG = re.compile(r"^[0-9a-f]{32}$")

_ACCESS_POINT = re.compile(r"arn:[^/]+:(?:accesspoint|outpost[:/][^/:]+[:/]accesspoint)[:/][^/:]+")

_Item = TypeVar("_Item")
_ParsePage = Callable[["ListObjectsV2OutputTypeDef", str, str], tuple[list[_Item], str]]
"""Function of a page, the prefix of its keys and the key before it; returns the items of the page and its last key."""


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket, or the ARN of an access point, and the key prefix of the objects: a folder, or empty."""

    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """The location as ``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}"


class S3Bucket:
    """Object store of the objects below a prefix of a bucket; the deadline is for all attempts to fetch one object.

    The configuration of the client bounds the retries of one request. Other arguments as of `open_store`.
    """

    def __init__(
        self,
        client: "S3Client",
        location: S3Location,
        deadline_seconds: float = GET_DEADLINE_SECONDS,
        object_pattern: str = EVERY_NAME,
        setting: str = SOURCE_SETTING,
    ) -> None:
        self._client = client
        self._setting = setting
        self._object_pattern = object_pattern
        self._location = location
        self._deadline_seconds = deadline_seconds

    @property
    def url(self) -> str:
        """The source URL, ``s3://bucket/prefix``."""
        return self._location.url

    @property
    def key_prefix(self) -> str:
        """The prefix of the source URL."""
        return self._location.prefix

    def uri(self, key: str) -> str:
        """Return ``s3://bucket/key``."""
        return f"s3://{self._location.bucket}/{key}"

    def list_objects(
        self, *, below: str = "", after: str = "", skipped: SkippedObjects | None = None
    ) -> Iterator[ObjectRef]:
        """Yield the objects in key order, with one LIST request per 1,000 keys.

        Raises:
            SourceUnavailableError: A page is not complete: see `parse_page`.
        """
        refs = self._list(parse_page, below or self._location.prefix, after)
        yield from select_objects(
            refs, prefix=self._location.prefix, name_pattern=self._object_pattern, skipped=skipped
        )

    def list_folders(self, below: str) -> Iterator[str]:
        """Yield the folders directly below a folder, with one LIST request per 1,000 folders and objects."""
        return self._list(parse_folders, below, "", Delimiter="/")

    def _list(
        self,
        parse: _ParsePage[_Item],
        prefix: str,
        after: str,
        **parameters: Any,  # noqa: ANN401 - more parameters of boto3's `paginate`
    ) -> Iterator[_Item]:
        pages = iter(
            self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._location.bucket,
                Prefix=prefix,
                StartAfter=after,
                RequestPayer="requester",
                EncodingType="url",  # keys are decoded here: botocore would replace bytes that are not UTF-8
                **parameters,
            )
        )
        for number in itertools.count(1):
            action = f"LIST s3://{self._location.bucket}/{prefix}" + (f" (page {number})" if number > 1 else "")
            with translate_errors(action, setting=self._setting):
                page = next(pages, None)
            if page is None:
                return
            try:
                items, after = parse(page, prefix, after)
            except IncompletePageError as error:
                raise SourceUnavailableError(
                    f"{action}: page {number} of the listing is not complete: {error}; nothing is known about the"
                    " objects after it. Try again later; a proxy in front of the store can be the cause"
                ) from error
            yield from items

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Fetch the object with at most `GET_ATTEMPTS` GET requests, within the deadline."""
        deadline = time.monotonic() + self._deadline_seconds
        failure: ObjectError | None = None
        for _ in range(GET_ATTEMPTS):
            try:
                return self._read(ref, into, deadline)
            except ObjectCorruptError as error:
                failure = error
            if time.monotonic() >= deadline:
                reason = f"did not arrive within {self._deadline_seconds:g} seconds: {failure.reason}"
                raise ObjectCorruptError(ref.key, reason) from failure
        raise failure or ObjectCorruptError(ref.key, "was not read")

    def _read(self, ref: ObjectRef, into: IO[bytes], deadline: float) -> bool:
        digest = hashlib.md5(usedforsecurity=False)
        into.seek(0)
        into.truncate()
        with translate_errors(f"GET {self.uri(ref.key)}", ref.key, setting=self._setting):
            response = self._client.get_object(
                Bucket=self._location.bucket,
                Key=ref.key,
                IfMatch=f'"{ref.etag}"',
                RequestPayer="requester",
                ChecksumMode="ENABLED",
            )
            with _abort_at(deadline, response["Body"]):
                for chunk in response["Body"].iter_chunks(_CHUNK_BYTES):
                    digest.update(chunk)
                    into.write(chunk)
        if into.tell() != ref.size_bytes:
            raise ObjectCorruptError(ref.key, f"{into.tell()} bytes were received, {ref.size_bytes} were listed")
        verified = _verify(ref, response, digest.digest())
        into.seek(0)
        return verified


def parse_s3_url(url: str, setting: str = SOURCE_SETTING) -> S3Location:
    """Return the bucket and prefix of ``s3://bucket/prefix``, where the bucket can be the ARN of an access point.

    The prefix is a folder: a slash is appended if it does not end with one. Otherwise it is kept verbatim.

    Raises:
        ConfigurationError: The URL has another form.
    """
    scheme, separator, path = url.partition("://")  # not urlsplit: a key may contain ? and #
    access_point = _ACCESS_POINT.match(path)
    bucket = access_point[0] if access_point else path.partition("/")[0]
    prefix = path[len(bucket) + 1 :]
    if scheme != "s3" or not separator or not bucket or set(bucket) & set("@[]?#"):
        raise invalid_source_url(url, setting)
    return S3Location(bucket, prefix if not prefix or prefix.endswith("/") else f"{prefix}/")


def _session() -> Session:
    """Return a session that reads the region from AWS_REGION, then AWS_DEFAULT_REGION, as the AWS CLI does.

    boto3 itself reads AWS_DEFAULT_REGION only.
    """
    return Session(session_vars={"region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)})


def configured_region() -> str | None:
    """Return the region of the AWS variables, or of the profile; None if there is none."""
    region: str | None = _session().get_config_variable("region")
    return region


def make_s3_client() -> "S3Client":
    """Return a client configured by the AWS variables and files, with `REQUEST_RETRIES`."""
    config = Config(retries={"max_attempts": REQUEST_RETRIES, "mode": "standard"})
    return boto3.Session(botocore_session=_session()).client("s3", config=config)


def open_bucket(
    url: str,
    object_pattern: str,
    make_client: "Callable[[], S3Client] | None",
    setting: str,
    *,
    allow_insecure_endpoint: bool,
) -> S3Bucket:
    """Return the store of an ``s3://`` URL; arguments as of `base.open_store`.

    Raises:
        ConfigurationError: The URL is malformed, the AWS configuration is not valid, or the client's endpoint is
            refused by `require_safe_endpoint`.
        SourceAccessError: There are no credentials.
    """
    location = parse_s3_url(url, setting)
    with translate_errors("AWS configuration", setting=setting, otherwise=ConfigurationError):
        _require_ca_bundle(_session().get_config_variable("ca_bundle"))
        client = (make_client or make_s3_client)()
    if not allow_insecure_endpoint:
        require_safe_endpoint(client.meta.endpoint_url)
    return S3Bucket(client, location, object_pattern=object_pattern, setting=setting)


def _require_ca_bundle(path: str | None) -> None:
    """Raise if the file does not exist: botocore would report an unreachable endpoint."""
    if path and not Path(path).exists():
        raise ConfigurationError(f"AWS_CA_BUNDLE, or ca_bundle of the AWS profile, is {path}, which does not exist")


def _verify(ref: ObjectRef, response: "GetObjectOutputTypeDef", md5: bytes) -> bool:
    """Return whether a checksum verified the bytes: the ETag if it is an MD5, else a ``Checksum*`` header.

    botocore has already compared the bytes with the header, if the response has one.

    Raises:
        ObjectCorruptError: The MD5 of the bytes differs from the ETag.
    """
    encrypted = response.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in response
    if _MD5_ETAG.match(ref.etag) and not encrypted:
        if md5.hex() != ref.etag:
            raise ObjectCorruptError(ref.key, f"the MD5 of the bytes is {md5.hex()}, but the ETag is {ref.etag}")
        return True
    sums = ("ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256")
    return response.get("ChecksumType") == "FULL_OBJECT" and any(name in response for name in sums)


@contextmanager
def _abort_at(deadline: float, body: "StreamingBody") -> Iterator[None]:
    """Shut the connection down at the deadline; without this, a slow body would block a read without limit."""
    stream = body._raw_stream  # type: ignore[attr-defined]  # botocore has no public way to abort a read

    def abort() -> None:
        with suppress(ValueError):  # the body was complete before the shutdown
            stream.shutdown()

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
