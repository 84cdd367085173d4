"""The peak memory of a process, for memory tests and benchmarks."""

import resource
from pathlib import Path


def peak_megabytes(pid: int | str = "self") -> float:
    """Return the peak resident memory of a process in megabytes.

    Linux reads ``VmHWM``, because ``ru_maxrss`` of a child includes the memory of its parent before ``exec``.
    Other systems return the peak of the current process and ignore ``pid``.
    """
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000_000
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1_024 / 1_000_000
