"""Work run in a process of its own, so that its time and peak memory are its own and nobody else's."""

import json
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """What a child process took: ``seconds`` for the work alone, ``peak_megabytes`` of the whole process."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float


def measure(work: str, *arguments: str) -> Measured:
    """Run ``benchmarks.work.<work>(*arguments)`` in a child process."""
    command = [sys.executable, "-m", "benchmarks.work", work, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))
