"""Generates the sample: demo data in the layout of the bucket, for runs without a configured source.

The sample directory stands for the bucket's prefix. It contains random orders with plausible histories, sixteen real
orders, and every known edge case of the feed (listed in ``edge_cases``). Equal parameters and library versions give
equal bytes and file times.

`generate_sample` is defined here: it reuses, replaces or refuses the directory. The content is defined in ``dataset``.
This module imports neither polars nor pyarrow, so that a start with an existing sample is fast.
"""

import tempfile
from pathlib import Path

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample.manifest import SampleRequest, SampleSummary, count_files, read_manifest, write_manifest

__all__ = ["SampleSummary", "generate_sample"]

MIN_DAYS = 2
MIN_ORDERS_PER_DAY = 200


def generate_sample(directory: Path, *, days: int = 14, orders_per_day: int = 2_800, seed: int = 1) -> SampleSummary:
    """Write the sample, unless the directory already contains the sample of these parameters.

    The directory appears complete or not at all. If several processes generate it concurrently, the first one to
    finish wins. A sample of other parameters is replaced.

    Args:
        directory: Stands for the bucket's prefix. Its parents are created.
        days: UTC days from 2025-08-17. The days of the real orders are added.
        orders_per_day: Orders created per day. An order has about two rows.
        seed: Seed of the random generator.

    Returns:
        The row counts of the sample.

    Raises:
        ConfigurationError: The directory contains files that are not part of a generated sample.
        ValueError: Too few days or orders to contain every edge case.
    """
    if days < MIN_DAYS or orders_per_day < MIN_ORDERS_PER_DAY:
        raise ValueError(f"a sample needs at least {MIN_DAYS} days of {MIN_ORDERS_PER_DAY} orders")
    request = SampleRequest(days, orders_per_day, seed)
    if summary := read_manifest(directory, request):
        return summary
    _refuse_unmanaged_files(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as workspace:
        new = Path(workspace) / "new"
        summary = _write(new, request)
        return _publish(new, directory, request, replaced=Path(workspace) / "replaced") or summary


def _write(new: Path, request: SampleRequest) -> SampleSummary:
    from twap_pipeline.sample.dataset import write_dataset  # the one lazy import: polars, pyarrow and numpy

    summary = write_dataset(new, request)
    write_manifest(new, request, summary)
    return summary


def _publish(new: Path, directory: Path, request: SampleRequest, replaced: Path) -> SampleSummary | None:
    """Rename the new sample to its directory; return the summary of another process's sample if that was first."""
    try:
        new.rename(directory)
    except OSError:
        if summary := read_manifest(directory, request):
            return summary
        _refuse_unmanaged_files(directory)
        directory.rename(replaced)
        new.rename(directory)
    return None


def _refuse_unmanaged_files(directory: Path) -> None:
    """Raise unless the directory is missing, empty, or a generated sample without additional files."""
    if not directory.exists():
        return
    if directory.is_dir():
        files = sum(path.is_file() for path in directory.rglob("*"))
        if files == count_files(directory):
            return
    raise ConfigurationError(
        f"{directory} contains files that are not part of the generated sample; use another directory, or remove it"
    )
