"""Object store of a requester-pays S3 bucket.

Every request sends ``RequestPayer``. A GET sends ``If-Match`` with the listed ETag, and its bytes are compared with
the store's checksum. A GET whose body breaks off is repeated: boto3 retries requests, but not a body that stops.
"""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.session import Session
from urllib3.exceptions import HTTPError

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import (
    ObjectChangedError,
    ObjectCorruptError,
    ObjectError,
    ObjectGoneError,
    SourceAccessError,
    SourceError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from twap_pipeline.source.base import StoreOptions, invalid_source_url, is_hidden
from twap_pipeline.source.endpoint_policy import require_safe_endpoint

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

REQUEST_RETRIES = 3
"""botocore's retries of one request (mode ``standard``): a failing request is sent at most four times."""

GET_ATTEMPTS = 3
"""Maximum number of GET requests of one object whose body is incomplete or corrupt."""

GET_DEADLINE_SECONDS = 300.0
"""Time limit of all GET attempts of one object; a slow body is aborted."""

_CHUNK_BYTES = 1 << 18
_MD5_ETAG = re.compile(r"^[0-9a-f]{32}$")
_REQUESTER_PAYS = (
    "the bucket is requester-pays: the AWS identity needs permission for this call, and its AWS account is charged"
    " (RequestPayer=requester was sent)"
)

_EXPIRED = "the AWS credentials have expired: renew them and run again; loaded objects are not read again"
_HINTS_BY_CODE = {
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "RequestTimeTooSkewed": "the clock of this host is wrong: correct it and run again",
}


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket and the key prefix of the objects."""

    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """The location as ``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}"


class S3Bucket:
    """Object store of the objects below a prefix of a bucket.

    Args:
        client: boto3 S3 client. Its configuration bounds the retries of one request.
        location: Bucket and prefix.
        deadline_seconds: Time limit for fetching one object, all attempts included.
    """

    def __init__(
        self, client: "S3Client", location: S3Location, deadline_seconds: float = GET_DEADLINE_SECONDS
    ) -> None:
        self._client = client
        self._location = location
        self._deadline_seconds = deadline_seconds

    @property
    def url(self) -> str:
        """The source URL, ``s3://bucket/prefix``."""
        return self._location.url

    def uri(self, key: str) -> str:
        """Return ``s3://bucket/key``."""
        return f"s3://{self._location.bucket}/{key}"

    def list_objects(self, *, below: str = "", after: str = "") -> Iterator[ObjectRef]:
        """Yield the objects in key order, with one LIST request per 1,000 keys."""
        prefix = below or self._location.prefix
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._location.bucket, Prefix=prefix, StartAfter=after, RequestPayer="requester"
        )
        with _translate_errors(f"LIST s3://{self._location.bucket}/{prefix}"):
            for page in pages:
                for item in page.get("Contents", []):
                    if not is_hidden(item["Key"]):
                        yield ObjectRef(item["Key"], item["ETag"].strip('"'), item["LastModified"], item["Size"])

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
        with _translate_errors(f"GET {self.uri(ref.key)}", ref.key):
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


def parse_s3_url(url: str) -> S3Location:
    """Return the bucket and prefix of ``s3://bucket/prefix``; the prefix is kept verbatim.

    Raises:
        ConfigurationError: The URL has another form.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise invalid_source_url(url) from error
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc:
        raise invalid_source_url(url)
    bucket, _, prefix = url.partition("://")[2].partition("/")  # not parts.path: a key may contain ? and #
    return S3Location(bucket, prefix)


def make_s3_client() -> "S3Client":
    """Return a client configured by the AWS variables and files, with `REQUEST_RETRIES`.

    boto3 reads AWS_DEFAULT_REGION only. This client also reads AWS_REGION, first, as the AWS CLI does.
    """
    session = Session(session_vars={"region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)})
    config = Config(retries={"max_attempts": REQUEST_RETRIES, "mode": "standard"})
    return boto3.Session(botocore_session=session).client("s3", config=config)


def open_bucket(url: str, options: StoreOptions) -> S3Bucket:
    """Return the store of an ``s3://`` URL.

    Raises:
        ConfigurationError: The URL is malformed, or the client's endpoint is refused by `require_safe_endpoint`.
    """
    location = parse_s3_url(url)
    client = (options.make_s3_client or make_s3_client)()
    if not options.allow_insecure_endpoint:
        require_safe_endpoint(client.meta.endpoint_url)
    return S3Bucket(client, location)


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


@contextmanager
def _translate_errors(action: str, key: str = "") -> Iterator[None]:
    """Translate exceptions of boto3 to `SourceError`; messages start with ``action``.

    Args:
        action: The request: ``GET s3://bucket/key``.
        key: Key of the object; empty for a LIST request.
    """
    try:
        yield
    except ClientError as error:
        raise _error_from_response(error, action, key) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        reason = f"{action}: no AWS credentials: {error}; set AWS_PROFILE or AWS_ACCESS_KEY_ID; {_REQUESTER_PAYS}"
        raise SourceAccessError(reason) from error
    except (FlexibleChecksumError, HTTPError, OSError) as error:
        if not key:
            raise SourceUnavailableError(f"{action}: {error}") from error
        raise ObjectCorruptError(key, f"{action} broke off: {error}") from error
    except BotoCoreError as error:
        if key and type(error).__name__ in ("IncompleteReadError", "ResponseStreamingError", "ReadTimeoutError"):
            raise ObjectCorruptError(key, f"{action} broke off: {error}") from error
        raise SourceUnavailableError(
            f"{action}: {error}; check the network, AWS_ENDPOINT_URL and AWS_REGION"
        ) from error


def _error_from_response(error: ClientError, action: str, key: str) -> SourceError:
    details = error.response.get("Error", {})
    code, status = details.get("Code", "?"), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"{action}: {status} {code}: {details.get('Message', '')}".rstrip(": ")
    if code in ("NoSuchBucket", "InvalidBucketName"):
        return SourceNotFoundError(f"{message}; correct the bucket's name in TWAP_SOURCE_URL")
    if key and (code == "NoSuchKey" or status == HTTPStatus.NOT_FOUND):
        return ObjectGoneError(key, f"{message}; it was deleted after it was listed")
    if key and status == HTTPStatus.PRECONDITION_FAILED:
        return ObjectChangedError(key, f"{message}; it was overwritten after it was listed; list again")
    if code in _HINTS_BY_CODE:
        return SourceAccessError(f"{message}; {_HINTS_BY_CODE[code]}")
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return SourceAccessError(f"{message}; {_REQUESTER_PAYS}")
    return SourceUnavailableError(f"{message}; the request failed after botocore's retries; try again later")
