"""The requester-pays S3 bucket as an object store, through a boto3 client that somebody else configured.

Every call says RequestPayer. A GET is bound to the listed version (If-Match), checked against the store's digest, and
repeated as a whole when its body breaks: boto3 repeats requests, never a body that stops midway.
"""

import base64
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import IO, TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    NoCredentialsError,
    PartialCredentialsError,
)
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
from twap_pipeline.source.base import S3Location, is_hidden

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

GET_ATTEMPTS = 3
"""Whole GETs of one object before it counts as unreadable."""

GET_DEADLINE_SECONDS = 300.0
"""All attempts of one object together; a body that trickles in is given up."""

_CHUNK_BYTES = 1 << 18
_MD5_ETAG = re.compile(r"^[0-9a-f]{32}$")
_REQUESTER_PAYS = (
    "the bucket is requester-pays: the AWS identity must be allowed this call and its account pays for it"
    " (RequestPayer=requester was sent)"
)

_RENEW = "the AWS credentials have expired: renew them and run again, objects that are loaded are not read again"
_CREDENTIALS_FAILED = {
    "ExpiredToken": _RENEW,
    "TokenRefreshRequired": _RENEW,
    "RequestExpired": _RENEW,
    "RequestTimeTooSkewed": "this host's clock differs from the store's: set it, then run again",
}


class S3Bucket:
    """Objects below a prefix of a bucket.

    Args:
        client: boto3 S3 client; its configuration bounds the retries of single requests.
        location: Bucket and prefix.
        deadline_seconds: Bound on reading one object, repetitions included.
    """

    def __init__(
        self, client: "S3Client", location: S3Location, deadline_seconds: float = GET_DEADLINE_SECONDS
    ) -> None:
        self._client = client
        self._location = location
        self._deadline_seconds = deadline_seconds

    @property
    def url(self) -> str:
        """The place as ``s3://bucket/prefix``."""
        return self._location.url

    def uri(self, key: str) -> str:
        """Return ``s3://bucket/key``."""
        return f"s3://{self._location.bucket}/{key}"

    def list_objects(self, *, below: str = "", after: str = "") -> Iterator[ObjectRef]:
        """Yield the objects in the store's order of keys; 1,000 a LIST request."""
        prefix = below or self._location.prefix
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._location.bucket, Prefix=prefix, StartAfter=after, RequestPayer="requester"
        )
        with _translated(f"LIST s3://{self._location.bucket}/{prefix}"):
            for page in pages:
                for item in page.get("Contents", []):
                    if not is_hidden(item["Key"]):
                        yield ObjectRef(item["Key"], item["ETag"].strip('"'), item["LastModified"], item["Size"])

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Read the whole object, at most `GET_ATTEMPTS` times and within the deadline."""
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
        raise failure or ObjectCorruptError(ref.key, "was never read")

    def _read(self, ref: ObjectRef, into: IO[bytes], deadline: float) -> bool:
        digest = hashlib.md5(usedforsecurity=False)
        into.seek(0)
        into.truncate()
        with _translated(f"GET {self.uri(ref.key)}", ref.key):
            answer = self._client.get_object(
                Bucket=self._location.bucket,
                Key=ref.key,
                IfMatch=f'"{ref.etag}"',
                RequestPayer="requester",
                ChecksumMode="ENABLED",
            )
            with _ended_at(deadline, answer["Body"]):
                for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                    digest.update(chunk)
                    into.write(chunk)
        if into.tell() != ref.size_bytes:
            raise ObjectCorruptError(ref.key, f"{into.tell()} bytes arrived, {ref.size_bytes} were listed")
        verified = _verify(ref, answer, digest.digest())
        into.seek(0)
        return verified


def _verify(ref: ObjectRef, answer: "GetObjectOutputTypeDef", md5: bytes) -> bool:
    """Compare with the ETag where it is an MD5; botocore itself has checked a Checksum* header if there was one."""
    encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
    if _MD5_ETAG.match(ref.etag) and not encrypted:
        if md5.hex() != ref.etag:
            said = base64.b16encode(md5).decode().lower()
            raise ObjectCorruptError(ref.key, f"the bytes' MD5 is {said}, the store's ETag says {ref.etag}")
        return True
    sums = ("ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256")
    return answer.get("ChecksumType") == "FULL_OBJECT" and any(name in answer for name in sums)


@contextmanager
def _ended_at(deadline: float, body: "StreamingBody") -> Iterator[None]:
    """Shut the connection down when the time is up: a body that trickles in would keep a read waiting for ever."""
    stream = body._raw_stream  # type: ignore[attr-defined]  # botocore has no public way to end a read

    def end() -> None:
        with suppress(ValueError):  # it ended by itself in this very moment
            stream.shutdown()

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _translated(action: str, key: str = "") -> Iterator[None]:
    """Turn what boto3 raises into this project's errors, with the action that failed."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(error, action, key) from error
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


def _from_answer(error: ClientError, action: str, key: str) -> SourceError:
    answer = error.response.get("Error", {})
    code, status = answer.get("Code", "?"), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"{action}: {status} {code}: {answer.get('Message', '')}".rstrip(": ")
    if code in ("NoSuchBucket", "InvalidBucketName"):
        return SourceNotFoundError(f"{said}; check the bucket's name in TWAP_SOURCE_URL")
    if key and (code == "NoSuchKey" or status == HTTPStatus.NOT_FOUND):
        return ObjectGoneError(key, f"{said}; it was deleted after it was listed")
    if key and status == HTTPStatus.PRECONDITION_FAILED:
        return ObjectChangedError(key, f"{said}; it was overwritten after it was listed; list again")
    if code in _CREDENTIALS_FAILED:
        return SourceAccessError(f"{said}; {_CREDENTIALS_FAILED[code]}")
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return SourceAccessError(f"{said}; {_REQUESTER_PAYS}")
    return SourceUnavailableError(f"{said}; the store kept failing after botocore's retries; try again later")
