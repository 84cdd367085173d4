"""The identity of a source: forms of one URL are equal, other sources differ, a moved sample stays the sample."""

from pathlib import Path

import pytest

from twap_pipeline.sample.manifest import MANIFEST
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
        ("sample", "sample"),
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
    (before / MANIFEST).write_text("{}", "utf-8")
    identity = source_identity(before.as_uri())
    before.rename(after)

    assert identity == source_identity(f"{after.as_uri()}/") == "sample"
