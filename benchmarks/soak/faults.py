"""What goes wrong during a soak: answers of the store, workers that are killed, database sessions that are ended."""

import os
import random
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from werkzeug.wrappers import Request, Response

from benchmarks.soak.simulated_bucket import FEEDER

SHARES = {"503": 0.05, "cut short": 0.03, "bit flipped": 0.03}
"""Share of GETs that get each fault; LISTs only the first."""


@dataclass(slots=True)
class StoreFaults:
    """Spoils answers, the same ones for the same seed, key and number of the request.

    Args:
        seed: Of the soak.
        injected: Faults by kind.
        requests: The pipeline's requests by kind.
    """

    seed: int
    injected: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    _asked: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request, response: Response) -> Response:
        """Return the answer, or what becomes of it."""
        if FEEDER in request.headers.get("User-Agent", ""):
            return response
        listing = "list-type" in request.args
        with self._lock:
            self._asked[request.url] += 1
            self.requests["LIST" if listing else "GET"] += 1
            drawn = random.Random(f"{self.seed} {request.url} {self._asked[request.url]}")
            fault = self._draw(drawn, listing=listing) if response.status_code == 200 else None
            if fault is None:
                return response
            self.injected[f"{'LIST' if listing else 'GET'} {fault}"] += 1
        return _spoilt(response, fault, drawn)

    def _draw(self, drawn: random.Random, *, listing: bool) -> str | None:
        place = drawn.random()
        for kind, share in SHARES.items():
            if place < share:
                return kind
            if listing:
                return None
            place -= share
        return None


def _spoilt(response: Response, fault: str, drawn: random.Random) -> Response:
    if fault == "503":
        return Response("<Error><Code>SlowDown</Code><Message>by the soak</Message></Error>", 503)
    body = response.get_data()
    if fault == "cut short":
        broken = Response(iter([body[: drawn.randrange(len(body))]]), response.status, response.headers)
        broken.headers["Content-Length"] = str(len(body))
        return broken
    flipped = bytearray(body)
    flipped[drawn.randrange(len(body))] ^= 1 << drawn.randrange(8)
    headers = [(name, value) for name, value in response.headers if "checksum" not in name.lower()]
    return Response(bytes(flipped), response.status, headers)


def kill_a_worker(session: int, drawn: random.Random) -> bool:
    """Send SIGKILL to one of the processes that execute runs, of those that this soak's Dagster started."""
    workers = [pid for pid in _session_members(session) if b"spawn_main" in _command(pid)]
    if not workers:
        return False
    with suppress(ProcessLookupError):
        os.kill(drawn.choice(sorted(workers)), signal.SIGKILL)
        return True
    return False


def _session_members(session: int) -> list[int]:
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(ProcessLookupError, PermissionError):
                if os.getsid(int(entry.name)) == session:
                    members.append(int(entry.name))
    return members


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def end_a_backend(connection: "psycopg.Connection[tuple[object, ...]]", drawn: random.Random) -> bool:
    """Terminate one of the pipeline's database sessions that is at work."""
    found = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'twap_pipeline' AND datname = current_database()"
        " AND state <> 'idle' AND pid <> pg_backend_pid() ORDER BY pid"
    ).fetchall()
    if not found:
        return False
    connection.execute("SELECT pg_terminate_backend(%s)", (drawn.choice(found)[0],))
    return True
