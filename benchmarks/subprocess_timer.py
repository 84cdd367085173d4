"""Work run in a process of its own, so that its time and peak memory are its own; and the server's CPU beside it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measured:
    """What a child process took.

    Args:
        seconds: The work alone, without imports and connecting.
        cpu_seconds: The child's, of the same span.
        peak_megabytes: Of the whole process.
        added_megabytes: By the work, above what imports had taken.
        server_cpu_seconds: Of all processes of PostgreSQL meanwhile.
    """

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    added_megabytes: float
    server_cpu_seconds: float = 0.0


def measure(postmaster: int, work: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Measured:
    """Run ``benchmarks.workloads.<work>(*arguments)`` in a child process."""
    command = [sys.executable, "-m", "benchmarks.workloads", work, *arguments]
    before = server_cpu_seconds(postmaster)
    inherited = {**os.environ, **(environment or {})}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=inherited)
    if done.returncode:
        said = "\n".join(line[:300] for line in done.stderr.splitlines()[-12:])
        raise SystemExit(f"{work} failed:\n{said}")
    took = json.loads(done.stdout.splitlines()[-1])
    return Measured(**took, server_cpu_seconds=server_cpu_seconds(postmaster) - before)


def server_cpu_seconds(postmaster: int) -> float:
    """Return the CPU of a server's processes, ended ones included; 0 where there is no ``/proc``."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(stat.parent.name) == postmaster:
            ticks += sum(map(int, fields[11:15]))  # its own, and that of children that have ended
        elif int(fields[1]) == postmaster:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
