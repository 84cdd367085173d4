"""Generates the sample: demo data in the layout of the bucket, for runs without a configured source.

The sample directory stands for the bucket's prefix. It contains random orders with plausible histories up to a given
hour, open orders included, and every known edge case of the feed (listed in ``edge_cases``). A directory next to it
contains the fills of these orders. Equal parameters and library versions give equal bytes and file times.

`generate_sample` is defined here. The content is defined in ``dataset``. This module imports neither polars nor
pyarrow, so that a start with an existing sample is fast.
"""

import tempfile
from pathlib import Path

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample.manifest import (
    MANIFEST,
    SampleRequest,
    SampleSummary,
    fills_directory_of,
    read_manifest,
    write_manifest,
)

__all__ = ["SampleRequest", "SampleSummary", "generate_sample"]

MIN_DAYS = 3
MIN_ORDERS_PER_DAY = 200


def generate_sample(directory: Path, request: SampleRequest) -> SampleSummary:
    """Write the sample, unless the directory already contains a sample: a sample never changes.

    The fills of the sample are in `fills_directory_of` the directory; missing fills are written again. Each directory
    appears complete or not at all. If several processes generate the sample concurrently, the first one to finish wins.

    Args:
        directory: Stands for the bucket's prefix. Its parents are created.
        request: Parameters of the sample; ignored if the directory contains a sample.

    Returns:
        The row counts of the sample in the directory.

    Raises:
        ConfigurationError: A directory contains other files, or a sample of another version of this program, or its
            parent cannot be written.
        ValueError: Too few days or orders to contain every edge case.
    """
    if request.days < MIN_DAYS or request.orders_per_day < MIN_ORDERS_PER_DAY:
        raise ValueError(f"a sample needs at least {MIN_DAYS} days of {MIN_ORDERS_PER_DAY} orders")
    fills_directory = fills_directory_of(directory)
    existing = read_manifest(directory)
    if existing and read_manifest(fills_directory) == existing:
        return existing[1]
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent)
    except OSError as error:
        raise ConfigurationError(
            f"cannot create the sample data in {directory}: {error.strerror}; set TWAP_HOME to a writable folder,"
            " or DATABASE_URL and TWAP_SOURCE_URL to use no sample data"
        ) from error
    with folder as workspace:
        new, new_fills = Path(workspace) / "new", Path(workspace) / "new-fills"
        written = _write(new, new_fills, existing[0] if existing else request)
        if existing is None and not _place(new, directory):
            return generate_sample(directory, request)  # another process was first: return its sample
        if existing not in (None, written):
            raise ConfigurationError(
                f"the fills of the sample in {directory} are missing, and other versions of libraries have generated"
                f" it: delete the folders postgres, {directory.name} and dagster in {directory.parent}, and run again"
            )
        if (fills_directory / MANIFEST).exists() and read_manifest(fills_directory) != written:
            fills_directory.rename(Path(workspace) / "old-fills")  # the fills of a sample that was deleted
        _place(new_fills, fills_directory)
    return written[1]


def _write(new: Path, new_fills: Path, request: SampleRequest) -> tuple[SampleRequest, SampleSummary]:
    from twap_pipeline.sample.dataset import write_dataset  # the one lazy import: polars, pyarrow and numpy

    summary = write_dataset(new, new_fills, request)
    for directory in (new, new_fills):
        write_manifest(directory, request, summary)
    return request, summary


def _place(new: Path, directory: Path) -> bool:
    """Rename a directory; return False if its new name is a sample already.

    Raises:
        ConfigurationError: The new name is not a sample of this program.
    """
    try:
        new.rename(directory)
    except OSError as error:
        if read_manifest(directory):
            return False
        raise ConfigurationError(
            f"{directory} exists and is not a sample of this version; remove it, or set another TWAP_HOME"
        ) from error
    return True
