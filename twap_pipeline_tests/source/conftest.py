"""An S3 bucket with one object, for the tests of `S3Bucket`."""

import pytest

from twap_pipeline.source.s3 import S3Bucket
from twap_pipeline_tests.s3_server import S3Server
from twap_pipeline_tests.source.s3_bucket import BODY, BUCKET, KEY, open_bucket


@pytest.fixture
def store(s3: S3Server) -> S3Bucket:
    """A bucket with one object."""
    s3.client().create_bucket(Bucket=BUCKET)
    s3.client().put_object(Bucket=BUCKET, Key=KEY, Body=BODY)
    s3.requests.clear()
    return open_bucket(s3)
