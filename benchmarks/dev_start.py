"""``python -m benchmarks.dev_start``: measures how long ``dagster dev`` takes until the code location is loaded.

The limit is a project with one empty asset and the same instance settings.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from twap_pipeline_tests.dagster_client import checkout, dagster_dev

_LIMIT = "empty project (limit)"
_EMPTY_PROJECT = """import dagster as dg


@dg.asset
def nothing() -> None: ...


defs = dg.Definitions(assets=[nothing])
"""


def main() -> None:
    """Print medians of alternating starts and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dev_start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twap-benchmark-") as name:
        root = Path(name)
        folders = {_LIMIT: _empty_project(root / "empty"), "twap_pipeline": checkout(root / "checkout")}
        seconds: dict[str, list[float]] = {label: [] for label in folders}
        for _ in range(options.rounds):
            for label, folder in folders.items():
                started = time.perf_counter()
                with dagster_dev(folder, {"TWAP_HOME": str(root / "home")}):
                    seconds[label].append(time.perf_counter() - started)
    limit = statistics.median(seconds[_LIMIT])
    for label, starts in seconds.items():
        median = statistics.median(starts)
        print(f"{label:<22} {median:6.2f} s {median / limit:6.2f} x limit")


def _empty_project(folder: Path) -> Path:
    checkout(folder)
    (folder / "pyproject.toml").unlink()
    (folder / "empty.py").write_text(_EMPTY_PROJECT)
    (folder / "workspace.yaml").write_text("load_from:\n  - python_file: empty.py\n")
    return folder


if __name__ == "__main__":
    main()
