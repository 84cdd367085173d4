"""Tests of `S3Bucket` against a local S3 server: requester-pays, versions, checksums, broken bodies, messages."""

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import boto3
import pytest
from botocore.exceptions import ClientError
from werkzeug.wrappers import Request, Response

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import (
    ObjectChangedError,
    ObjectCorruptError,
    ObjectGoneError,
    SourceAccessError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from twap_pipeline.source.s3 import GET_ATTEMPTS, S3Bucket, S3Location, make_s3_client
from twap_pipeline_tests.mutants import expect_failure, unproven_bytes
from twap_pipeline_tests.s3_server import S3Server

BUCKET, PREFIX, KEY = "twap-test", "raw/twap_statuses/", "raw/twap_statuses/hourly/2025/08/20/12/a.parquet"
BODY = bytes(range(256)) * 40


@pytest.fixture
def store(s3: S3Server) -> S3Bucket:
    """A bucket with one object."""
    s3.client().create_bucket(Bucket=BUCKET)
    s3.client().put_object(Bucket=BUCKET, Key=KEY, Body=BODY)
    s3.requests.clear()
    return open_bucket(s3)


def open_bucket(s3: S3Server, bucket: str = BUCKET, deadline_seconds: float = 20) -> S3Bucket:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
        client = make_s3_client()
    return S3Bucket(client, S3Location(bucket, PREFIX), deadline_seconds)


def only_object(store: S3Bucket) -> ObjectRef:
    (ref,) = store.list_objects()
    return ref


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


def test_list_ref_has_key_etag_time_and_size(store: S3Bucket) -> None:
    ref = only_object(store)

    assert (ref.key, ref.size_bytes) == (KEY, len(BODY))
    assert ref.etag == hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    assert ref.last_modified.utcoffset() is not None


def test_fetch_returns_bytes_and_verified(store: S3Bucket) -> None:
    file = io.BytesIO()

    verified = store.fetch(only_object(store), file)

    assert verified
    assert file.read() == BODY


def test_list_reads_all_pages_and_skips_markers(store: S3Bucket, s3: S3Server) -> None:
    client = s3.client()
    for number in range(1_005):
        client.put_object(Bucket=BUCKET, Key=f"{PREFIX}more/{number:04}.parquet", Body=b"x")
    client.put_object(Bucket=BUCKET, Key=f"{PREFIX}more/", Body=b"")
    client.put_object(Bucket=BUCKET, Key=f"{PREFIX}_SUCCESS", Body=b"")
    s3.requests.clear()

    keys = [ref.key for ref in store.list_objects()]

    assert len(keys) == 1_006
    assert s3.requests["LIST"] == 2


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
def test_list_403_is_not_retried_and_names_requester_pays(store: S3Bucket, s3: S3Server) -> None:
    s3.faults.append(refuse)

    with pytest.raises(SourceAccessError, match=f"LIST s3://{BUCKET}/{PREFIX}: 403 AccessDenied.*requester-pays"):
        list(store.list_objects())

    assert s3.requests["LIST"] == 1


def refuse(_request: Request, _response: Response) -> Response:
    return Response("<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>", 403)


@pytest.mark.fault("S1")
def test_fetch_403_is_not_retried_and_names_the_key(store: S3Bucket, s3: S3Server) -> None:
    ref = only_object(store)
    s3.faults.append(refuse)

    with pytest.raises(SourceAccessError, match=f"GET s3://{BUCKET}/{KEY}: 403 AccessDenied.*requester-pays"):
        store.fetch(ref, io.BytesIO())

    assert s3.requests["GET"] == 1


@pytest.mark.fault("S1")
def test_server_refuses_requests_without_request_payer(store: S3Bucket, s3: S3Server) -> None:
    with pytest.raises(ClientError, match=r"403|AccessDenied"):
        s3.client().get_object(Bucket=BUCKET, Key=KEY)
    with pytest.raises(ClientError, match=r"403|AccessDenied"):
        s3.client().list_objects_v2(Bucket=BUCKET)


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


def test_list_missing_bucket_raises_not_found(s3: S3Server) -> None:
    with pytest.raises(SourceNotFoundError, match=r"s3://no-such-bucket/.*NoSuchBucket.*TWAP_SOURCE_URL"):
        list(open_bucket(s3, "no-such-bucket").list_objects())


def test_list_without_credentials_raises_access_error(
    store: S3Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.session.Session().client("s3", endpoint_url=s3.url, region_name="us-east-1")

    with pytest.raises(SourceAccessError, match="no AWS credentials"):
        list(S3Bucket(client, S3Location(BUCKET, PREFIX)).list_objects())


def test_list_unreachable_endpoint_names_the_setting(s3: S3Server) -> None:
    unreachable = replace(s3, url="http://127.0.0.1:9")

    with pytest.raises(SourceUnavailableError, match="AWS_ENDPOINT_URL"):
        list(open_bucket(unreachable).list_objects())
