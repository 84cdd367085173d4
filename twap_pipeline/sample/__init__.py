"""Generates the sample: demo data in the layout of the buckets, for runs without a configured source.

A sample is a directory of three entries: ``statuses`` stands for the bucket of the statuses, ``fills`` for that of the
fills, and the manifest marks both as complete. The statuses are those of random orders with plausible histories up to a
given hour, open orders included, with every known edge case of the feed (listed in ``edge_cases``). Equal parameters
and library versions give equal bytes and file times.

`generate_sample` is defined here. The content is defined in ``dataset``. This module imports neither polars nor
pyarrow, so that a start with an existing sample is fast.
"""

import tempfile
from pathlib import Path

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample.manifest import SampleRequest, read_manifest, write_manifest

__all__ = ["SampleRequest", "generate_sample"]


def generate_sample(directory: Path, request: SampleRequest) -> None:
    """Write the sample, unless the directory already contains a sample: a sample never changes.

    The directory appears complete or not at all. If several processes generate the sample concurrently, the first one
    to finish wins.

    Args:
        directory: Directory of the sample. Its parents are created.
        request: Parameters of the sample; ignored if the directory contains a sample.

    Raises:
        ConfigurationError: The directory contains other files, or a sample of another version of this program, or its
            parent cannot be written.
    """
    if read_manifest(directory):
        return
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent)
    except OSError as error:
        raise ConfigurationError(
            f"cannot create the sample data in {directory}: {error.strerror}; set TWAP_HOME to a writable folder,"
            " or DATABASE_URL and TWAP_SOURCE_URL to use no sample data"
        ) from error
    with folder as workspace:
        new = Path(workspace) / "new"
        _write(new, request)
        try:
            new.rename(directory)
        except OSError as error:
            if read_manifest(directory):  # of another process that was first
                return
            raise ConfigurationError(
                f"{directory} exists and is not a sample of this version; remove it, or set another TWAP_HOME"
            ) from error


def _write(directory: Path, request: SampleRequest) -> None:
    from twap_pipeline.sample.dataset import write_dataset  # the one lazy import: polars, pyarrow and numpy

    write_manifest(directory, request, write_dataset(directory, request))
