"""The identity of a source: forms of one URL are equal, other sources differ, a moved sample stays the sample."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from twap_pipeline.sample.manifest import SampleRequest, SampleSummary, write_manifest
from twap_pipeline.source.identity import source_identity

pytestmark = [pytest.mark.unit, pytest.mark.fault("D10")]


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("file:///data/twap", "file:///data/twap/"),
        ("file:///data/twap/", "file:///data/twap/"),
        ("FILE:///data/twap", "file:///data/twap/"),
        ("file://localhost/data/twap/", "file:///data/twap/"),
        ("file:///data/my%20twap", "file:///data/my%20twap/"),
        ("file:///data//./twap/", "file:///data/twap/"),
        ("file:///", "file:///"),
        ("s3://bucket", "s3://bucket/"),
        ("s3://bucket/raw", "s3://bucket/raw/"),
        ("S3://bucket/raw/", "s3://bucket/raw/"),
        ("sample/2026-11-26T18:00Z", "sample/2026-11-26T18:00Z"),
    ],
)
def test_forms_of_one_url_have_one_identity(url: str, identity: str) -> None:
    assert source_identity(url) == identity
    assert source_identity(identity) == identity


@pytest.mark.parametrize("other", ["s3://other/raw/", "s3://bucket/raw_v2/", "s3://bucket/", "s3://bucket/Raw/"])
def test_other_bucket_or_prefix_has_another_identity(other: str) -> None:
    assert source_identity(other) != source_identity("s3://bucket/raw/")


def test_sample_has_one_identity_in_any_directory(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    request = SampleRequest(datetime(2026, 11, 26, 18, tzinfo=UTC))
    write_manifest(before, request, SampleSummary({}, {}))
    identity = source_identity((before / "statuses").as_uri())
    before.rename(after)

    assert identity == source_identity(f"{after.as_uri()}/statuses/") == "sample/2026-11-26T18:00Z"
