"""Every benchmark runs with small sizes: their commands follow the changes of the package. Times are not checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twap_pipeline.paths import ROOT

SMALL_RUNS = {
    "benchmarks": "--quick --rounds 1",
    "benchmarks.api": "--rows 4000 --requests 64",
    "benchmarks.checks": "--events 4000",
    "benchmarks.dev_start": "--rounds 1",
    "benchmarks.fills": "--rows 4000 --objects 2 --slices 200 --requests 40",
    "benchmarks.fuzz": "--minutes 0.1",
    "benchmarks.growth": "--events 2000 --rows-per-day 1000 --objects 1000 --output {folder}",
    "benchmarks.soak": "--minutes 0.2",
    "benchmarks.year_backfill": "--days 2 --objects-per-day 2 --rows-per-object 50",
}
_OF_OTHER_TESTS = {"benchmarks.scale_out"}  # test_celery.py starts the same cluster; the benchmark takes minutes


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("module", SMALL_RUNS)
def test_benchmark_with_small_sizes_runs_to_its_end(module: str, tmp_path: Path) -> None:
    arguments = SMALL_RUNS[module].format(folder=tmp_path).split()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    process = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 0, process.stderr[-5_000:]
    assert process.stdout


def test_every_benchmark_has_a_small_run() -> None:
    programs = {
        f"benchmarks.{path.stem}"
        for path in (ROOT / "benchmarks").glob("*.py")
        if path.stem != "__main__" and "ArgumentParser(" in path.read_text("utf-8")
    }

    assert programs | {"benchmarks"} == {*SMALL_RUNS, *_OF_OTHER_TESTS}
