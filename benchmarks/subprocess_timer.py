"""Runs one workload in a child process and measures its time, its CPU, its memory and the CPU of the PostgreSQL server.

A workload is a module-level function that imports and connects, and returns a function without parameters.
Only the returned function is timed. ``python -m benchmarks.subprocess_timer MODULE FUNCTION ARGUMENT...`` is the child.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from twap_pipeline_tests.process_memory import peak_megabytes

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one workload used.

    Args:
        seconds: Wall-clock time of the work, without imports and connecting.
        cpu_seconds: CPU of the child process during the work.
        peak_megabytes: Peak memory of the child process, imports included.
        added_megabytes: Growth of the peak during the work.
        server_cpu_seconds: CPU of all PostgreSQL processes during the life of the child process.
    """

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    added_megabytes: float
    server_cpu_seconds: float


def measure(
    postmaster_pid: int,
    workload: Callable[..., Work],
    *arguments: str,
    environment: Mapping[str, str] | None = None,
) -> Measurement:
    """Run ``workload(*arguments)`` in a child process.

    Args:
        postmaster_pid: Process id of the PostgreSQL server; 0 if unknown.
        workload: A module-level function.
        arguments: Its arguments.
        environment: Variables added to those of this process.

    Raises:
        SystemExit: The child failed.
    """
    command = ["-m", "benchmarks.subprocess_timer", workload.__module__, workload.__name__, *arguments]
    before = server_cpu_seconds(postmaster_pid)
    used = json.loads(run_python(command, environment).splitlines()[-1])
    return Measurement(**used, server_cpu_seconds=server_cpu_seconds(postmaster_pid) - before)


def run_python(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run this interpreter in a child process and return its standard output.

    Raises:
        SystemExit: The child failed; the message contains the end of its standard error.
    """
    child = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if child.returncode:
        stderr = "\n".join(line[:300] for line in child.stderr.splitlines()[-12:])
        raise SystemExit(f"a child process failed with status {child.returncode}:\n{stderr}")
    return child.stdout


def server_cpu_seconds(postmaster_pid: int) -> float:
    """Return the CPU of a server's processes, including ended ones; 0 on systems without ``/proc``."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        if int(stat.parent.name) == postmaster_pid:
            ticks += sum(map(int, fields[11:15]))  # the postmaster and its ended children
        elif int(fields[1]) == postmaster_pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run one workload and print what it used as JSON."""
    module, function, *arguments = sys.argv[1:]
    work: Work = getattr(import_module(module), function)(*arguments)
    peak_before, started, cpu_before = peak_megabytes(), time.perf_counter(), time.process_time()
    work()
    used = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_before,
        "peak_megabytes": peak_megabytes(),
        "added_megabytes": peak_megabytes() - peak_before,
    }
    print(json.dumps(used))


if __name__ == "__main__":
    main()
