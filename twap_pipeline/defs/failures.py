"""Failure texts of runs: what Dagster's run page, the terminal and the alert show first.

Errors of this package say what failed, why, and what to do. Dagster shows another error's text below its own sentence
and a stack trace, but the text of a `dagster.Failure` on the first line.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from twap_pipeline.defs.texts import data_set_option, shorten
from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.errors import TwapPipelineError

_OBJECTS_MAX = 5
_CHARACTERS_MAX = 300


@contextmanager
def plain_failure() -> Iterator[None]:
    """Raise each error of this package in the block as a failure with the same text.

    Raises:
        dagster.Failure: The block raised a `TwapPipelineError`, which is the cause.
    """
    try:
        yield
    except TwapPipelineError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def describe_failed_objects(
    errors: Sequence[str], failed: Sequence[str], partition_count: int, data_set: DataSet = TWAP_STATUS
) -> str:
    """Return the failure text of a run in which objects failed: a summary, then a line per object.

    ``errors`` has a message per failed object, with its key; ``failed`` has the keys of the partitions with one.
    """
    objects = f"{len(errors)} object{'' if len(errors) == 1 else 's'} failed"
    lines = [
        f"{objects} in {len(failed)} of {partition_count} partitions ({', '.join(failed)}); all others are loaded:",
        *(f"- {shorten(error, _CHARACTERS_MAX)}" for error in errors[:_OBJECTS_MAX]),
    ]
    if len(errors) > _OBJECTS_MAX:
        lines.append(f"- and {len(errors) - _OBJECTS_MAX} more")
    lines.append(
        "The next run retries a failed object. It skips a parked one: correct the cause, then run"
        f" `twap-pipeline ingest{data_set_option(data_set.name)} --object-key KEY`. All errors are in"
        " etl_s3_ingest_log.error_text."
    )
    return "\n".join(lines)
