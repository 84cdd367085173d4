"""Malformed parquet: sound objects of every encoding, spoiled in ways that a seed decides, and read in a child process.

A child that dies takes nobody with it, and what it was at is known: it says the number of each case before it begins.
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
from twap_pipeline.storage.loading.status_writer import encode_batch
from twap_pipeline_tests.feed_factories import arrow_table, listed, nested, opened, raw_rows, write_parquet

KEY = "raw/hourly/2026/09/24/11/malformed.parquet"
ROWS = 300
MEMORY_MAX_BYTES = 4 << 30
"""Address space of a child; an object that makes the reader ask for more counts as refused or as a death."""

CASE_SECONDS = 60.0
"""A child that says nothing for so long hangs."""

_FOOTER_BYTES = 8
_OUTCOMES = ("refused by name", "read whole")


@dataclass(slots=True)
class FuzzReport:
    """What became of the cases.

    Args:
        outcomes: Cases by outcome.
        faults: Number of a case and what was wrong with how it ended.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """All cases."""
        return self.outcomes.total()


@cache
def sound_objects() -> tuple[bytes, ...]:
    """Return readable objects in every encoding and compression that a writer is likely to use."""
    flat = raw_rows(ROWS, status=["activated", "finished", '{"error": "why"}'] * (ROWS // 3))
    odd = arrow_table(
        flat,
        state_sz=pa.array([float(place) for place in range(ROWS)]),
        state_minutes=pa.array([str(place) for place in range(ROWS)]).dictionary_encode(),
        x=pa.array([[b"x"], None, []] * (ROWS // 3)),
    )
    tables: tuple[pl.DataFrame | pa.Table, ...] = (flat, nested(flat), odd)
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


def _bits(data: bytearray, drawn: random.Random, first: int, last: int) -> None:
    for _ in range(drawn.choice((1, 1, 2, 8))):
        data[drawn.randrange(first, last)] ^= 1 << drawn.randrange(8)


def _flip_anywhere(data: bytearray, drawn: random.Random) -> None:
    _bits(data, drawn, 0, len(data))


def _flip_in_footer(data: bytearray, drawn: random.Random) -> None:
    length = int.from_bytes(data[-_FOOTER_BYTES:-4], "little")
    _bits(data, drawn, max(0, len(data) - length - _FOOTER_BYTES), len(data))


def _flip_in_first_page(data: bytearray, drawn: random.Random) -> None:
    _bits(data, drawn, 4, min(80, len(data)))


def _overwrite(data: bytearray, drawn: random.Random) -> None:
    at, length = drawn.randrange(len(data)), drawn.randrange(1, 64)
    data[at : at + length] = drawn.choice((bytes(length), b"\xff" * length, drawn.randbytes(length)))


def _cut_out(data: bytearray, drawn: random.Random) -> None:
    at = drawn.randrange(len(data))
    del data[at : at + drawn.randrange(1, 256)]


def _repeat(data: bytearray, drawn: random.Random) -> None:
    at = drawn.randrange(len(data))
    data[at:at] = data[at : at + drawn.randrange(1, 256)]


def _splice(data: bytearray, drawn: random.Random) -> None:
    other = drawn.choice(sound_objects())
    at, length = drawn.randrange(min(len(data), len(other))), drawn.randrange(1, 512)
    data[at : at + length] = other[at : at + length]


def _footer_of_another(data: bytearray, drawn: random.Random) -> None:
    other = drawn.choice(sound_objects())
    length, theirs = (int.from_bytes(one[-_FOOTER_BYTES:-4], "little") + _FOOTER_BYTES for one in (data, other))
    data[-length:] = other[-theirs:]


_SPOIL: tuple[Callable[[bytearray, random.Random], None], ...] = (
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
    """Return the object of a case, the same on every machine."""
    drawn = random.Random(case)
    data = bytearray(drawn.choice(sound_objects()))
    for _ in range(drawn.choice((1, 1, 1, 3))):
        drawn.choice(_SPOIL)(data, drawn)
    return bytes(data)


def read(data: bytes) -> str:
    """Read an object as ingestion does, up to the rows that COPY would get, and return what became of it."""
    ref = listed(data, KEY)
    try:
        reading = ObjectReader(ref, opened(data))
        batches = list(reading.batches())
    except ObjectError as error:
        return _OUTCOMES[0] if KEY in str(error) else f"refused without the object's name: {error}"
    for batch in batches:
        encode_batch(ref, batch)
    return _OUTCOMES[1]


CHILD = (sys.executable, "-m", "twap_pipeline_tests.fuzz_parquet")
"""The command of the child; the first case and the number of cases come after it."""


def run_cases(first: int, count: int, child: Sequence[str] = CHILD) -> FuzzReport:
    """Read cases in child processes, a new one after each death."""
    findings, last = FuzzReport(), first + count
    while first < last:
        for case, outcome in _answers([*child, str(first), str(last - first)]):
            first = case
            if outcome:
                _note(findings, case, outcome)
                first += 1
        if first < last:
            _note(findings, first, "the process died or hung")
            first += 1
    return findings


def _note(findings: FuzzReport, case: int, outcome: str) -> None:
    known = outcome in _OUTCOMES
    findings.outcomes[outcome if known else "fault"] += 1
    if not known:
        findings.faults.append((case, outcome))


def _answers(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield each case as it begins, without an outcome, and as it ends; nothing more when the child died or hung."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        explain_lock_timeout = threading.Timer(CASE_SECONDS, child.kill)
        explain_lock_timeout.start()
        try:
            for line in child.stdout or ():
                explain_lock_timeout.cancel()
                explain_lock_timeout = threading.Timer(CASE_SECONDS, child.kill)
                explain_lock_timeout.start()
                case, _, outcome = line.rstrip("\n").partition("\t")
                yield int(case), outcome
        finally:
            explain_lock_timeout.cancel()
            child.kill()


def main() -> None:
    """Be the child."""
    first, count = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for case in range(first, first + count):
        print(case, flush=True)
        try:
            outcome = read(malformed(case))
        except Exception as error:  # noqa: BLE001 - whatever comes is what the fuzzing is after
            outcome = f"{type(error).__name__}: {error}"
        print(case, outcome.replace("\n", " "), sep="\t", flush=True)


if __name__ == "__main__":
    main()
