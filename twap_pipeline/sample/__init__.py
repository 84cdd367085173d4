"""A sample of the feed in the bucket's own layout, so that the pipeline runs where nothing is configured.

The directory stands for the bucket's prefix: random orders with plausible lives, sixteen real ones, and every known
edge_case of the feed (table in ``edge_cases``). The same parameters and library versions give the same bytes and file times.
Here belongs the public function alone: ``contents`` decides what the sample holds, ``files`` how it is written.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample.large_object import write_object
from twap_pipeline.sample.manifest import SampleRequest, SampleSummary, count_files, read_marker, write_marker

__all__ = ["SampleSummary", "generate_sample", "write_object"]

LEAST_DAYS = 2
LEAST_ORDERS_PER_DAY = 200


def generate_sample(directory: Path, *, days: int = 14, orders_per_day: int = 2_800, seed: int = 1) -> SampleSummary:
    """Write the sample, unless the directory already holds this very sample; return what it holds.

    The directory appears complete or not at all, whatever interrupts; of several processes at once the first wins.
    A sample of other parameters is replaced.

    Args:
        directory: Stands for the bucket's prefix; its parents are made.
        days: UTC days from the dataset's first (2025-08-17); the real orders' days come on top.
        orders_per_day: Orders created on each day; an order gives about two rows.
        seed: Of all chance.

    Raises:
        ConfigurationError: The directory holds something that is no sample.
        ValueError: Too few days or orders to show every edge_case.
    """
    if days < LEAST_DAYS or orders_per_day < LEAST_ORDERS_PER_DAY:
        raise ValueError(f"a sample needs at least {LEAST_DAYS} days of {LEAST_ORDERS_PER_DAY} orders")
    request = SampleRequest(days, orders_per_day, seed)
    if summary := read_marker(directory, request):
        return summary
    _refuse_unmanaged_files(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as workspace:
        fresh = Path(workspace) / "fresh"
        summary = _write(fresh, request)
        return _publish(fresh, directory, request, replaced=Path(workspace) / "replaced") or summary


def _write(fresh: Path, request: SampleRequest) -> SampleSummary:
    import numpy as np

    from twap_pipeline.sample.dataset import draw_dataset
    from twap_pipeline.sample.files import write_parquet

    contents = draw_dataset(np.random.default_rng(request.seed), request)
    size_bytes = sum(write_parquet(fresh / each.key, each.rows, each.written_at) for each in contents.objects)
    summary = contents.summarize(request.days, size_bytes)
    write_marker(fresh, request, summary)
    return summary


def _publish(fresh: Path, directory: Path, request: SampleRequest, replaced: Path) -> SampleSummary | None:
    """Put the fresh sample in its place; return another process's summary where that was quicker."""
    try:
        fresh.rename(directory)
    except OSError:
        if summary := read_marker(directory, request):
            return summary
        _refuse_unmanaged_files(directory)
        directory.rename(replaced)
        fresh.rename(directory)
    return None


def _refuse_unmanaged_files(directory: Path) -> None:
    """Refuse to replace anything but a sample to which nothing was added."""
    if not directory.exists():
        return
    if directory.is_dir():
        files = sum(path.is_file() for path in directory.rglob("*"))
        if files == count_files(directory):
            return
    raise ConfigurationError(
        f"{directory} holds files that are not the generated sample's; name another directory, or remove it"
    )
