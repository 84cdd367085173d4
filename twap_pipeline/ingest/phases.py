"""Measures the phases of an attempt to load an object. What is recorded about an attempt belongs in `ingest_log`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class PhaseTimer:
    """The seconds of each phase; a phase that is measured several times counts with the sum."""

    def __init__(self) -> None:
        self._ended: dict[str, float] = {}
        self._started_at: dict[str, float] = {}

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Measure the block."""
        self._started_at[phase] = time.perf_counter()
        try:
            yield
        finally:
            self._ended[phase] = self.seconds[phase]
            del self._started_at[phase]

    @property
    def seconds(self) -> dict[str, float]:
        """Phase → seconds; of a phase in progress, the seconds so far."""
        now = time.perf_counter()
        running = {phase: now - start for phase, start in self._started_at.items()}
        return {phase: self._ended.get(phase, 0.0) + running.get(phase, 0.0) for phase in {**self._ended, **running}}
