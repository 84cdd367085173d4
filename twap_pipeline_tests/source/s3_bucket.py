"""An S3 bucket on the local S3 server, which the tests of listing and of reading share."""

from functools import cache
from typing import TYPE_CHECKING

import pytest
from werkzeug.wrappers import Request, Response

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.source.s3 import S3Bucket, S3Location, make_s3_client
from twap_pipeline_tests.s3_server import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET, PREFIX, KEY = "twap-test", "raw/twap_statuses/", "raw/twap_statuses/hourly/2025/08/20/12/a.parquet"
BODY = bytes(range(256)) * 40


@cache
def client_of(url: str) -> "S3Client":
    """Return a client, which costs more than a request, once per server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", url)
        return make_s3_client()


def open_bucket(
    s3: S3Server, bucket: str = BUCKET, deadline_seconds: float = 20, object_pattern: str = "*"
) -> S3Bucket:
    return S3Bucket(client_of(s3.url), S3Location(bucket, PREFIX), deadline_seconds, object_pattern)


def only_object(store: S3Bucket) -> ObjectRef:
    (ref,) = store.list_objects()
    return ref


def refuse(_request: Request, _response: Response) -> Response:
    return error_response(403, "AccessDenied", "Access Denied")


def error_response(status: int, code: str, message: str = "no") -> Response:
    return Response(f"<Error><Code>{code}</Code><Message>{message}</Message></Error>", status)
