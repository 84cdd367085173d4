"""`S3Bucket.fetch`: bytes and checksums, broken and slow bodies, refusals, changed and deleted objects."""

import errno
import io
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest
from botocore.exceptions import EndpointConnectionError
from werkzeug.wrappers import Request, Response

from twap_pipeline.errors import (
    LocalResourceError,
    ObjectArchivedError,
    ObjectChangedError,
    ObjectCorruptError,
    ObjectGoneError,
    ObjectRefusedError,
    SourceAccessError,
    SourceUnavailableError,
)
from twap_pipeline.source.object_file import ObjectFile
from twap_pipeline.source.s3 import GET_ATTEMPTS, S3Bucket
from twap_pipeline.source.s3_errors import translate_errors
from twap_pipeline_tests.mutants import expect_failure, unproven_bytes
from twap_pipeline_tests.s3_server import S3Server
from twap_pipeline_tests.source.s3_bucket import (
    BODY,
    BUCKET,
    KEY,
    PREFIX,
    error_response,
    only_object,
    open_bucket,
    refuse,
)


def on_get(change: Callable[[Response], Response], times: int = 1_000) -> Callable[[Request, Response], Response]:
    remaining = [times]

    def fault(request: Request, response: Response) -> Response:
        if "list-type" in request.args or remaining[0] == 0:
            return response
        remaining[0] -= 1
        return change(response)

    return fault


def cut(response: Response) -> Response:
    """Return half of the body with the Content-Length of the whole body."""
    whole = response.get_data()
    broken = Response(iter([whole[: len(whole) // 2]]), response.status, response.headers)
    broken.headers["Content-Length"] = str(len(whole))
    return broken


def flip(response: Response) -> Response:
    body = bytearray(response.get_data())
    body[100] ^= 1
    headers = [(name, value) for name, value in response.headers if "checksum" not in name.lower()]
    return Response(bytes(body), response.status, headers)


def test_fetch_returns_bytes_and_verified(store: S3Bucket) -> None:
    file = io.BytesIO()

    verified = store.fetch(only_object(store), file)

    assert verified
    assert file.read() == BODY


@pytest.mark.fault("D7")
@pytest.mark.parametrize("name", ["a b+c.parquet", "100%25.parquet", "e\u0301.parquet", "\u00e9.parquet", "🙂.parquet"])
def test_fetch_unusual_key_round_trips(store: S3Bucket, s3: S3Server, name: str) -> None:
    s3.client().put_object(Bucket=BUCKET, Key=PREFIX + name, Body=b"content")
    (ref,) = [ref for ref in store.list_objects() if ref.key != KEY]
    file = io.BytesIO()

    store.fetch(ref, file)

    assert ref.key == PREFIX + name
    assert file.read() == b"content"


@pytest.mark.fault("S1")
def test_fetch_403_is_not_retried_and_names_the_key(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    s3.faults.append(refuse)

    with pytest.raises(ObjectRefusedError, match=f"GET s3://{BUCKET}/{KEY}: 403 AccessDenied.*requester-pays"):
        store.fetch(ref, io.BytesIO())

    assert s3.requests["GET"] == 1


@pytest.mark.fault("S7")
@pytest.mark.parametrize(
    ("refusal", "error", "advice"),
    [
        ((403, "InvalidObjectState", "archived"), ObjectArchivedError, "restore the object"),
        ((403, "AccessDenied", "not authorized to perform: kms:Decrypt"), ObjectRefusedError, "allow.*kms:Decrypt"),
        ((400, "KMS.DisabledException", "key is disabled"), ObjectRefusedError, "check that the key is enabled"),
        ((400, "InvalidRequest", "stored using SSE-C"), ObjectRefusedError, "a customer's encryption key"),
        ((403, "AccessDenied", "Access Denied"), ObjectRefusedError, "s3:GetObject for this key.*Object Ownership"),
        ((403, "InvalidAccessKeyId", "unknown"), SourceAccessError, "the AWS credentials are not valid"),
        ((403, "SignatureDoesNotMatch", "no"), SourceAccessError, "the AWS credentials are not valid"),
        ((400, "AuthorizationHeaderMalformed", "region"), SourceAccessError, "set AWS_REGION"),
        ((401, "Unauthorized", "no"), SourceAccessError, "requester-pays"),
    ],
)
def test_fetch_refusal_concerns_the_object_or_the_store(
    store: S3Bucket, s3: S3Server, refusal: tuple[int, str, str], error: type[Exception], advice: str
) -> None:
    ref = only_object(store)
    s3.faults.append(on_get(lambda _: error_response(*refusal)))

    with pytest.raises(error, match=f"GET s3://{BUCKET}/{KEY}: {refusal[0]} {refusal[1]}.*{advice}") as raised:
        store.fetch(ref, io.BytesIO())

    assert type(raised.value) is error


def test_fetch_full_disk_raises_local_error(store: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = only_object(store)
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")

    with ObjectFile(max_size=1) as file, pytest.raises(LocalResourceError, match="/no/such/folder"):
        store.fetch(ref, file)


def test_connection_without_file_descriptor_raises_local_error() -> None:
    failed = EndpointConnectionError(endpoint_url="https://s3.example.com")
    failed.__context__ = OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(LocalResourceError, match=r"Too many open files.*ulimit"), translate_errors("GET", KEY):
        raise failed


@pytest.mark.fault("S2")
def test_fetch_503_is_retried_at_most_three_times(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    unavailable = Response("<Error><Code>SlowDown</Code></Error>", 503)
    s3.faults.append(on_get(lambda _: unavailable, times=2))
    file = io.BytesIO()

    store.fetch(ref, file)

    assert file.read() == BODY
    s3.requests.clear()
    s3.faults[:] = [on_get(lambda _: unavailable)]
    with pytest.raises(SourceUnavailableError, match="503 SlowDown"):
        store.fetch(ref, io.BytesIO())
    assert s3.requests["GET"] == 4


@pytest.mark.fault("S3")
def test_fetch_broken_body_is_fetched_again(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    s3.faults.append(on_get(cut, times=2))
    file = io.BytesIO()

    store.fetch(ref, file)

    assert file.read() == BODY
    assert s3.requests["GET"] == 3


@pytest.mark.fault("S3")
def test_fetch_body_that_always_breaks_raises_corrupt(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    s3.faults.append(on_get(cut))

    with pytest.raises(ObjectCorruptError, match=KEY):
        store.fetch(ref, io.BytesIO())

    assert s3.requests["GET"] == GET_ATTEMPTS


def trickle(response: Response) -> Response:
    """Return the body at one byte per 0.1 seconds."""
    whole = response.get_data()

    def slow_bytes() -> Iterator[bytes]:
        for byte in whole:
            time.sleep(0.1)
            yield bytes([byte])

    return Response(slow_bytes(), response.status, response.headers)


@pytest.mark.fault("S5")
def test_fetch_slow_body_is_aborted_at_the_deadline(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    s3.faults.append(on_get(trickle))
    started = time.monotonic()

    with pytest.raises(ObjectCorruptError, match=f"{KEY}: did not arrive within 1.5 seconds"):
        open_bucket(s3, deadline_seconds=1.5).fetch(ref, io.BytesIO())

    assert time.monotonic() - started < 6
    assert s3.requests["GET"] == 1


@pytest.mark.fault("S4")
def test_fetch_flipped_bit_without_checksum_raises_corrupt(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    s3.faults.append(on_get(flip))

    with pytest.raises(ObjectCorruptError, match="MD5"):
        store.fetch(ref, io.BytesIO())


@pytest.mark.fault("S4", control=True)
def test_fetch_flipped_bit_mutant_is_detected(store: S3Bucket, s3: S3Server) -> None:
    with expect_failure(unproven_bytes):
        test_fetch_flipped_bit_without_checksum_raises_corrupt(store, s3)


@pytest.mark.fault("S4")
def test_fetch_bit_flipped_once_is_fetched_again(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    s3.faults.append(on_get(flip, times=1))
    file = io.BytesIO()

    store.fetch(ref, file)

    assert file.read() == BODY


@pytest.mark.fault("D3")
def test_fetch_overwritten_object_raises_changed(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    s3.client().put_object(Bucket=BUCKET, Key=KEY, Body=b"other")

    with pytest.raises(ObjectChangedError, match="412"):
        store.fetch(ref, io.BytesIO())


@pytest.mark.fault("D4")
def test_fetch_deleted_object_raises_gone(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    s3.client().delete_object(Bucket=BUCKET, Key=KEY)

    with pytest.raises(ObjectGoneError, match=KEY):
        store.fetch(ref, io.BytesIO())
