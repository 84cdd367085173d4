"""Progress of commands on standard error: one line per step with its seconds, and in a terminal a bar.

Results belong on standard output, and not in this module.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_INTERVAL_SECONDS = 5.0
"""Time between two lines of a step if standard error is not a terminal."""

_LOAD_LOG = logging.getLogger("twap_pipeline.ingest.load")


class Step:
    """A step that has begun: prints its text, its progress and, at the end, its seconds.

    Args:
        text: What the step does, such as ``running the asset checks``.
        stream: Where to print; a bar if it is a terminal.
        object_count: Number of objects that the step loads, if it loads objects.
    """

    def __init__(self, text: str, stream: TextIO, object_count: int = 0) -> None:
        self._text, self._stream, self._object_count = text, stream, object_count
        self._loaded_count = 0
        self._started = self._printed = time.monotonic()
        self._bar = self._start_bar() if stream.isatty() else None
        if self._bar is None:
            click.echo(text, file=stream)

    @property
    def is_complete(self) -> bool:
        """Whether as many objects were counted as the step loads."""
        return self._loaded_count >= self._object_count

    def count_object(self) -> None:
        """Count a loaded or failed object."""
        self._loaded_count += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])
        elif now - self._printed >= LINE_INTERVAL_SECONDS:
            self._printed = now
            count = f"{self._loaded_count:,} of {self._object_count:,}"
            click.echo(f"{self._text}: {count}, {now - self._started:.0f} s", file=self._stream)

    def finish(self) -> None:
        """Print the seconds of the step."""
        if self._bar is not None:
            self._bar.stop()
        else:
            click.echo(f"{self._text}: {time.monotonic() - self._started:.1f} s", file=self._stream)

    def _start_bar(self) -> Progress:
        columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), TimeElapsedColumn()]
        if self._object_count:
            columns[1:] = [BarColumn(20), MofNCompleteColumn(" of "), TimeElapsedColumn(), TimeRemainingColumn()]
        bar = Progress(*columns, console=Console(file=self._stream), redirect_stdout=False, redirect_stderr=False)
        bar.add_task(self._text, total=self._object_count or None)
        bar.start()
        return bar


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print the progress of the block as a `Step`."""
    with _open_stderr() as stream:
        current = Step(text, stream)
        try:
            yield
        finally:
            current.finish()


@contextmanager
def ingest_steps(text: str, object_count: int) -> Iterator[None]:
    """Print the progress of a run that loads objects, and then refreshes orders, as two steps.

    The second step begins when `ingest.load` has logged each object.
    """
    level = _LOAD_LOG.level
    with _open_stderr() as stream:
        handler = _LoadHandler(text, object_count, stream)
        _LOAD_LOG.addHandler(handler)
        _LOAD_LOG.setLevel(logging.INFO)
        try:
            yield
        finally:
            _LOAD_LOG.removeHandler(handler)
            _LOAD_LOG.setLevel(level)
            handler.step.finish()


@contextmanager
def _open_stderr() -> Iterator[TextIO]:
    """Yield a second stream to standard error: Dagster redirects the first one while a step runs, to store it."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # standard error is not a file, as in a test
        yield sys.stderr
        return
    with os.fdopen(descriptor, "w", encoding=sys.stderr.encoding, errors="replace", buffering=1) as stream:
        yield stream


class _LoadHandler(logging.Handler):
    """Counts the objects that `ingest.load` logs; the base class calls it in one thread at a time."""

    def __init__(self, text: str, object_count: int, stream: TextIO) -> None:
        super().__init__(logging.INFO)
        self._text, self._stream = text, stream
        self.step = Step(f"{text}: loading {object_count:,} objects", stream, object_count)

    def emit(self, record: logging.LogRecord) -> None:
        """Count the object of the record; after the last object, begin the next step."""
        if self.step.is_complete or not hasattr(record, "object_key"):
            return
        self.step.count_object()
        if self.step.is_complete:
            self.step.finish()
            self.step = Step(f"{self._text}: refreshing the orders", self._stream)
