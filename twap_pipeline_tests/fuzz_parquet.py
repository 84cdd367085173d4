"""Malformed parquet: valid objects of every encoding, corrupted by a seeded generator and read in a child process.

The child prints the number of each case before it reads it, so the case of a child that dies is known.
``python -m twap_pipeline_tests.fuzz_parquet FIRST COUNT`` is the child.
"""

import random
import resource
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product

import polars as pl
import pyarrow as pa

from twap_pipeline.errors import ObjectError
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.storage.loading.row_writer import encode_batch
from twap_pipeline_tests.feed_factories import arrow_table, listed, nested, opened, raw_rows, write_parquet

KEY = "raw/hourly/2026/09/24/11/malformed.parquet"
ROWS = 300
MEMORY_MAX_BYTES = 4 << 30
"""Address space limit of a child."""

CASE_SECONDS = 60.0
"""A child that prints nothing for this time is killed."""

_FOOTER_BYTES = 8
_OUTCOMES = ("refused", "read")


@dataclass(slots=True)
class FuzzReport:
    """Outcomes of the cases.

    Args:
        outcomes: Number of cases by outcome: ``refused``, ``read`` or ``failure``.
        failures: Case number and message of each failure.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """Number of all cases."""
        return self.outcomes.total()


@cache
def valid_objects() -> tuple[bytes, ...]:
    """Return valid objects in every encoding and compression that a writer is likely to use."""
    flat = raw_rows(ROWS, status=["activated", "finished", '{"error": "why"}'] * (ROWS // 3))
    other_types = arrow_table(
        flat,
        state_sz=pa.array([float(number) for number in range(ROWS)]),
        state_minutes=pa.array([str(number) for number in range(ROWS)]).dictionary_encode(),
        x=pa.array([[b"x"], None, []] * (ROWS // 3)),
    )
    tables: tuple[pl.DataFrame | pa.Table, ...] = (flat, nested(flat), other_types)
    choices = product(tables, ("none", "snappy", "zstd", "gzip", "lz4", "brotli"), (True, False), ("1.0", "2.0"))
    return tuple(
        write_parquet(
            table,
            rows_per_group=ROWS // 2 if dictionary else None,
            compression=compression,
            use_dictionary=dictionary,
            data_page_version=version,
        )
        for table, compression, dictionary, version in choices
    )


def _bits(data: bytearray, rng: random.Random, first: int, last: int) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(first, last)] ^= 1 << rng.randrange(8)


def _flip_anywhere(data: bytearray, rng: random.Random) -> None:
    _bits(data, rng, 0, len(data))


def _flip_in_footer(data: bytearray, rng: random.Random) -> None:
    length = int.from_bytes(data[-_FOOTER_BYTES:-4], "little")
    _bits(data, rng, max(0, len(data) - length - _FOOTER_BYTES), len(data))


def _flip_in_first_page(data: bytearray, rng: random.Random) -> None:
    _bits(data, rng, 4, min(80, len(data)))


def _overwrite(data: bytearray, rng: random.Random) -> None:
    at, length = rng.randrange(len(data)), rng.randrange(1, 64)
    data[at : at + length] = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))


def _cut_out(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 256)]


def _repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randrange(1, 256)]


def _splice(data: bytearray, rng: random.Random) -> None:
    other = rng.choice(valid_objects())
    at, length = rng.randrange(min(len(data), len(other))), rng.randrange(1, 512)
    data[at : at + length] = other[at : at + length]


def _footer_of_another(data: bytearray, rng: random.Random) -> None:
    other = rng.choice(valid_objects())
    length, other_length = _footer_length(data), _footer_length(other)
    data[-length:] = other[-other_length:]


def _footer_length(data: bytes | bytearray) -> int:
    return int.from_bytes(data[-_FOOTER_BYTES:-4], "little") + _FOOTER_BYTES


_CORRUPTIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_anywhere,
    _flip_in_footer,
    _flip_in_first_page,
    _overwrite,
    _cut_out,
    _repeat,
    _splice,
    _footer_of_another,
)


def malformed(case: int) -> bytes:
    """Return the object of a case; equal on every machine."""
    rng = random.Random(case)
    data = bytearray(rng.choice(valid_objects()))
    for _ in range(rng.choice((1, 1, 1, 3))):
        rng.choice(_CORRUPTIONS)(data, rng)
    return bytes(data)


def read(data: bytes) -> str:
    """Read an object and encode its rows for COPY, as the loader does; return the outcome or a failure message."""
    ref = listed(data, KEY)
    try:
        batches = list(ObjectReader(ref, opened(data)).batches())
    except ObjectError as error:
        return _OUTCOMES[0] if KEY in str(error) else f"the error does not contain the key: {error}"
    for batch in batches:
        encode_batch(ref, batch)
    return _OUTCOMES[1]


CHILD = (sys.executable, "-m", "twap_pipeline_tests.fuzz_parquet")
"""Command of the child, without its arguments: the first case and the number of cases."""


def run_cases(first: int, count: int, child: Sequence[str] = CHILD) -> FuzzReport:
    """Run cases in child processes; start a new one after a child dies."""
    report, last = FuzzReport(), first + count
    while first < last:
        for case, outcome in _read_child_output([*child, str(first), str(last - first)]):
            first = case
            if outcome:
                _record(report, case, outcome)
                first += 1
        if first < last:
            _record(report, first, "the process died or hung")
            first += 1
    return report


def _record(report: FuzzReport, case: int, outcome: str) -> None:
    if outcome in _OUTCOMES:
        report.outcomes[outcome] += 1
    else:
        report.outcomes["failure"] += 1
        report.failures.append((case, outcome))


def _read_child_output(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield (case, "") when a case starts and (case, outcome) when it ends, until the child ends or hangs."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        watchdog = threading.Timer(CASE_SECONDS, child.kill)
        watchdog.start()
        try:
            for line in child.stdout or ():
                watchdog.cancel()
                watchdog = threading.Timer(CASE_SECONDS, child.kill)
                watchdog.start()
                case, _, outcome = line.rstrip("\n").partition("\t")
                yield int(case), outcome
        finally:
            watchdog.cancel()
            child.kill()


def main() -> None:
    """Run the child process."""
    first, count = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for case in range(first, first + count):
        print(case, flush=True)
        try:
            outcome = read(malformed(case))
        except Exception as error:  # noqa: BLE001 - any exception is a result of the fuzz test
            outcome = f"{type(error).__name__}: {error}"
        print(case, outcome.replace("\n", " "), sep="\t", flush=True)


if __name__ == "__main__":
    main()
