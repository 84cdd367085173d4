"""``python -m benchmarks.dev_start``: ``dagster dev`` until the code location is there, beside an empty project's."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from twap_pipeline_tests.dagster_client import checkout, dagster_dev

_EMPTY = """import dagster as dg


@dg.asset
def nothing() -> None: ...


defs = dg.Definitions(assets=[nothing])
"""


def main() -> None:
    """Print medians of alternating starts, and their ratio."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.dev_start", description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="twap-benchmark-") as name:
        folders = {"empty project": _empty_project(Path(name) / "empty"), "ours": checkout(Path(name) / "checkout")}
        seconds: dict[str, list[float]] = {what: [] for what in folders}
        for _ in range(given.rounds):
            for what, folder in folders.items():
                started = time.perf_counter()
                with dagster_dev(folder, {"TWAP_HOME": str(Path(name) / "home")}):
                    seconds[what].append(time.perf_counter() - started)
    medians = {what: statistics.median(taken) for what, taken in seconds.items()}
    for what, taken in seconds.items():
        print(f"{what:<14} {medians[what]:6.2f} s   ({', '.join(f'{one:.2f}' for one in taken)})")
    print(f"ratio          {medians['ours'] / medians['empty project']:6.2f}")


def _empty_project(folder: Path) -> Path:
    """Make a project with one asset, and our instance's settings, so that the code alone makes the difference."""
    checkout(folder)
    (folder / "pyproject.toml").unlink()
    (folder / "empty.py").write_text(_EMPTY)
    (folder / "workspace.yaml").write_text("load_from:\n  - python_file: empty.py\n")
    return folder


if __name__ == "__main__":
    main()
