"""`S3Bucket.list_objects`: pages, incomplete responses, keys that are not data or not valid, refusals."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError
from werkzeug.wrappers import Request, Response

from twap_pipeline.errors import (
    SourceAccessError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from twap_pipeline.source.s3 import S3Bucket, S3Location, parse_s3_url
from twap_pipeline.source.selection import SkippedObjects, SkipReason
from twap_pipeline_tests.s3_server import Fault, S3Server, made_up_listing
from twap_pipeline_tests.source.s3_bucket import BODY, BUCKET, KEY, PREFIX, only_object, open_bucket, refuse


def test_list_ref_has_key_etag_time_and_size(store: S3Bucket) -> None:
    ref = only_object(store)

    assert (ref.key, ref.size_bytes) == (KEY, len(BODY))
    assert ref.etag == hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    assert ref.last_modified.utcoffset() is not None


def test_list_reads_all_pages_and_skips_markers(store: S3Bucket, s3: S3Server) -> None:
    client = s3.client()
    s3.put_objects(BUCKET, (f"{PREFIX}more/{number:04}.parquet" for number in range(1_005)))
    client.put_object(Bucket=BUCKET, Key=f"{PREFIX}more/", Body=b"")
    client.put_object(Bucket=BUCKET, Key=f"{PREFIX}_SUCCESS", Body=b"")
    s3.requests.clear()

    keys = [ref.key for ref in store.list_objects()]

    assert len(keys) == 1_006
    assert s3.requests["LIST"] == 2


@pytest.mark.fault("S1")
def test_list_403_is_not_retried_and_names_requester_pays(store: S3Bucket, s3: S3Server) -> None:
    s3.faults.append(refuse)

    with pytest.raises(SourceAccessError, match=f"LIST s3://{BUCKET}/{PREFIX}: 403 AccessDenied.*requester-pays"):
        list(store.list_objects())

    assert s3.requests["LIST"] == 1


def pages_of(*keys: str) -> Fault:
    return made_up_listing([PREFIX + key for key in keys], page_keys=10)


def on_list(change: Callable[[str], Response | str], page: int = 1) -> Fault:
    """Return a fault that changes the text of one page of a listing."""

    def fault(request: Request, response: Response) -> Response:
        if "list-type" not in request.args or ("continuation-token" in request.args) != (page == 2):
            return response
        changed = change(response.get_data(as_text=True))
        return changed if isinstance(changed, Response) else Response(changed, 200, mimetype="application/xml")

    return fault


NUMBERED = [f"{number:04}.parquet" for number in range(15)]


TOKEN = re.compile("<NextContinuationToken>.*</NextContinuationToken>")


@pytest.mark.fault("D11")
@pytest.mark.parametrize(
    ("change", "page", "reason"),
    [
        (lambda text: TOKEN.sub("", text), 1, "page 1 .*another page follows, and has no token"),
        (lambda text: TOKEN.sub("<NextContinuationToken/>", text), 1, "page 1 .*has no token"),
        (
            lambda text: text.replace("<IsTruncated>false</IsTruncated>", "<IsTruncated>true</IsTruncated>"),
            2,
            "page 2 .*has no token",
        ),
        (lambda _: "<html><body>Please sign in</body></html>", 2, r"page 2 .*HTTP 200\) is not a ListBucketResult"),
        (lambda _: "<!doctype html><br>Please sign in", 2, r"\(page 2\): 500"),
        (lambda _: "", 1, "page 1 .*is not a ListBucketResult"),
        (lambda _: "", 2, "page 2 .*is not a ListBucketResult"),
        (lambda _: Response("", 204), 2, r"page 2 .*HTTP 204\) is not a ListBucketResult"),
        (lambda text: text[:-40], 2, r"\(page 2\): 500"),
        (lambda text: text.replace("<Contents>", "<KeyCount>6</KeyCount><Contents>", 1), 2, "declares 6 keys"),
        (lambda text: text.replace("/0012.parquet", "/0009.parquet"), 2, "page 2 .*not in order"),
        (lambda text: text.replace("/0005.parquet", "/0006.parquet"), 1, "page 1 .*not in order"),
        (lambda text: text.replace("raw/twap_statuses/", "raw/twap_statuses_v2/"), 1, "not in order below the prefix"),
        (lambda text: text.replace("<Size>1</Size>", "", 1), 2, "page 2 .*0010.parquet' has no Size"),
        (lambda text: text.replace("<LastModified>2025", "<LastModified>then", 1), 1, "LIST s3://twap-test/"),
    ],
)
def test_list_incomplete_page_raises_unavailable(
    s3: S3Server, change: Callable[[str], Response | str], page: int, reason: str
) -> None:
    """Each of these responses would pass for the end of the listing, or for fewer objects."""
    s3.faults += [pages_of(*NUMBERED), on_list(change, page)]

    with pytest.raises(SourceUnavailableError, match=reason) as raised:
        list(open_bucket(s3).list_objects())

    assert f"LIST s3://{BUCKET}/{PREFIX}" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.fault("D11")
def test_list_store_that_ignores_start_after_is_detected(s3: S3Server) -> None:
    with_all_keys = pages_of("a.parquet")(Request({"QUERY_STRING": "list-type=2"}), Response()).get_data(as_text=True)
    s3.faults.append(on_list(lambda _: with_all_keys))

    with pytest.raises(SourceUnavailableError, match="not in order"):
        list(open_bucket(s3).list_objects(after=f"{PREFIX}b.parquet"))


@pytest.mark.fault("D9")
def test_list_skips_and_counts_objects_that_are_not_data(s3: S3Server) -> None:
    s3.faults.append(pages_of("a_$folder$", "b/.x/c.parquet", "b/_temporary/d.parquet", "b/e.parquet", "f.json"))
    skipped = SkippedObjects()

    bucket = open_bucket(s3, object_pattern="*.parquet")

    assert [ref.key for ref in bucket.list_objects(skipped=skipped)] == [f"{PREFIX}b/e.parquet"]
    assert {reason: len(keys) for reason, keys in skipped.keys.items()} == {SkipReason.NAME: 2, SkipReason.HIDDEN: 2}


@pytest.mark.fault("D9")
def test_list_sibling_prefix_is_not_listed(store: S3Bucket, s3: S3Server) -> None:
    s3.client().put_object(Bucket=BUCKET, Key="raw/twap_statuses_v2/a.parquet", Body=b"x")
    client = store._client

    listed = S3Bucket(client, parse_s3_url(f"s3://{BUCKET}/raw/twap_statuses")).list_objects()

    assert [ref.key for ref in listed] == [KEY]


ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>&quot;e&quot;</ETag>"
    "<Size>{size}</Size></Contents>"
)


@pytest.mark.fault("D7")
@pytest.mark.parametrize(
    "odd",
    [
        {"key": "raw/twap_statuses/a%00b.parquet"},
        {"key": "raw/twap_statuses/a%FF.parquet"},
        {"key": "raw/twap_statuses/caf%E9/x.parquet"},
        {"key": "raw/twap_statuses/%F0%9F.parquet"},
        {"size": "10000000000000000000"},
        {"size": "-1"},
        {"modified": "9999-12-31T23:59:59Z"},
    ],
)
def test_list_entry_that_is_not_valid_does_not_stop_others(s3: S3Server, odd: dict[str, str]) -> None:
    entry = {"key": f"{PREFIX}a.parquet", "modified": "2025-08-20T00:00:00Z", "size": "1", **odd}
    s3.faults += [
        pages_of("0.parquet", "😀.parquet"),
        on_list(lambda text: text.replace("</Contents><Contents>", f"</Contents>{ENTRY.format(**entry)}<Contents>")),
    ]

    first, middle, last = open_bucket(s3).list_objects()

    assert (first.invalid, last.invalid, middle.invalid is None) == (None, None, False)


@pytest.mark.fault("D7")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-08-20T12:00:00", datetime(2025, 8, 20, 12, tzinfo=UTC)),
        ("2025-08-20T12:00:00+09:00", datetime(2025, 8, 20, 3, tzinfo=UTC)),
        ("1980-01-01T00:00:00.000Z", datetime(1980, 1, 1, tzinfo=UTC)),
    ],
)
def test_list_odd_last_modified_is_utc(s3: S3Server, text: str, expected: datetime) -> None:
    s3.faults += [pages_of("a.parquet"), on_list(lambda page: page.replace("2025-09-01T00:00:00.000Z", text))]

    (ref,) = open_bucket(s3).list_objects()

    assert (ref.last_modified, ref.last_modified.tzinfo) == (expected, UTC)


@pytest.mark.fault("S1")
def test_server_refuses_requests_without_request_payer(store: S3Bucket, s3: S3Server) -> None:
    with pytest.raises(ClientError, match=r"403|AccessDenied"):
        s3.client().get_object(Bucket=BUCKET, Key=KEY)
    with pytest.raises(ClientError, match=r"403|AccessDenied"):
        s3.client().list_objects_v2(Bucket=BUCKET)


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

    with pytest.raises(SourceAccessError, match="Unable to locate credentials; set AWS_PROFILE"):
        list(S3Bucket(client, S3Location(BUCKET, PREFIX)).list_objects())


def test_list_unreachable_endpoint_names_the_setting(s3: S3Server) -> None:
    unreachable = replace(s3, url="http://127.0.0.1:9")

    with pytest.raises(SourceUnavailableError, match="AWS_ENDPOINT_URL"):
        list(open_bucket(unreachable).list_objects())
