"""The full sample, generated once per session; tests must not change it."""

from pathlib import Path

import pytest

from twap_pipeline.sample import SampleSummary, generate_sample
from twap_pipeline_tests.sample.sample_reader import FULL


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleSummary]:
    """The directory and the summary of the sample of `FULL`."""
    directory = tmp_path_factory.mktemp("full") / "twap_statuses"
    return directory, generate_sample(directory, FULL)
