"""Samples of both sizes, generated once per session; tests must not change them."""

from pathlib import Path

import pytest

from twap_pipeline.sample import SampleRequest, generate_sample
from twap_pipeline.sample.manifest import STATUSES, SampleSummary, read_manifest
from twap_pipeline_tests.sample.sample_reader import FULL, SMALL

Sample = tuple[Path, SampleSummary]
"""The directory of the statuses, and its edge cases and faults."""


def generate(factory: pytest.TempPathFactory, request: SampleRequest) -> Sample:
    directory = factory.mktemp("sample") / "sample"
    generate_sample(directory, request)
    manifest = read_manifest(directory)
    assert manifest is not None
    return directory / STATUSES, manifest[1]


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The sample of `FULL`."""
    return generate(tmp_path_factory, FULL)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The sample of `SMALL`."""
    return generate(tmp_path_factory, SMALL)


@pytest.fixture(params=["small", "full"])
def any_size(request: pytest.FixtureRequest) -> Sample:
    """The sample of `SMALL`, and that of `FULL`."""
    sample: Sample = request.getfixturevalue(request.param)
    return sample
