"""The failure texts of runs."""

import dagster as dg
import pytest

from twap_pipeline.defs.failures import describe_failed_objects, plain_failure
from twap_pipeline.errors import SourceAccessError


def test_failure_text_names_objects_and_counts_the_rest() -> None:
    errors = [f"hour-{number}.parquet: is not a readable parquet file" for number in range(7)]

    lines = describe_failed_objects(errors, ["2025-08-20", "2025-08-21"], 31).splitlines()

    assert lines[0] == "7 objects failed in 2 of 31 partitions (2025-08-20, 2025-08-21); all others are loaded:"
    assert lines[1:7] == [*(f"- {error}" for error in errors[:5]), "- and 2 more"]
    assert "twap-pipeline ingest --object-key" in lines[7]


def test_failure_text_shortens_a_long_reason() -> None:
    text = describe_failed_objects([f"a.parquet: {'x' * 2_000}"], ["2025-08-20"], 1)

    assert text.startswith("1 object failed in 1 of 1 partitions (2025-08-20)")
    assert len(text.splitlines()[1]) == len("- ") + 300


def test_error_of_the_package_becomes_a_plain_failure() -> None:
    with pytest.raises(dg.Failure) as caught, plain_failure():
        raise SourceAccessError("access denied: set AWS_PROFILE")

    assert caught.value.description == "access denied: set AWS_PROFILE"
    assert isinstance(caught.value.__cause__, SourceAccessError)


def test_other_error_keeps_its_stack_trace() -> None:
    with pytest.raises(ZeroDivisionError), plain_failure():
        raise ZeroDivisionError
