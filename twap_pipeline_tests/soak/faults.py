"""Faults that a soak injects: S3 error responses, killed run workers, terminated database sessions."""

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

from twap_pipeline_tests.soak.simulated_bucket import WRITER_USER_AGENT

FAULT_RATES = {"503": 0.05, "truncated": 0.03, "bit_flipped": 0.03}
"""Fraction of GET responses that get each fault. LIST responses get only the first."""

_ACTIVE_BACKENDS_SQL = """
SELECT pid FROM pg_stat_activity
WHERE starts_with(application_name, 'twap_pipeline') AND datname = current_database()
  AND state <> 'idle' AND pid <> pg_backend_pid()
ORDER BY pid
"""


@dataclass(slots=True)
class StoreFaults:
    """A response filter for `S3Server.faults`.

    The seed, the path with the query, and the number of the request determine the fault, not the server's random port.

    Args:
        seed: The seed of the soak.
        injected: Number of injected faults by request kind and fault, for example ``GET truncated``.
        requests: Number of the pipeline's requests by kind.
    """

    seed: int
    injected: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    _requests_by_path: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request, response: Response) -> Response:
        """Return the response unchanged or with a fault."""
        if WRITER_USER_AGENT in request.headers.get("User-Agent", ""):
            return response
        kind = "LIST" if "list-type" in request.args else "GET"
        with self._lock:
            self._requests_by_path[request.full_path] += 1
            self.requests[kind] += 1
            rng = random.Random(f"{self.seed} {request.full_path} {self._requests_by_path[request.full_path]}")
            fault = _draw_fault(rng, kind) if response.status_code == 200 else None
            if fault is None:
                return response
            self.injected[f"{kind} {fault}"] += 1
        return _apply_fault(response, fault, rng)


def _draw_fault(rng: random.Random, kind: str) -> str | None:
    remaining = rng.random()
    for fault, rate in FAULT_RATES.items():
        if remaining < rate:
            return fault
        if kind == "LIST":
            return None
        remaining -= rate
    return None


def _apply_fault(response: Response, fault: str, rng: random.Random) -> Response:
    if fault == "503":
        return Response("<Error><Code>SlowDown</Code><Message>injected by the soak</Message></Error>", 503)
    body = response.get_data()
    if fault == "truncated":
        truncated = Response(iter([body[: rng.randrange(len(body))]]), response.status, response.headers)
        truncated.headers["Content-Length"] = str(len(body))
        return truncated
    flipped = bytearray(body)
    flipped[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    headers = [(name, value) for name, value in response.headers if "checksum" not in name.lower()]
    return Response(bytes(flipped), response.status, headers)


def kill_worker(session_id: int, rng: random.Random) -> bool:
    """Send SIGKILL to one run worker of the soak's Dagster processes.

    Args:
        session_id: The process session that contains all of the soak's Dagster processes.
        rng: Selects the worker.

    Returns:
        Whether a worker was killed.
    """
    workers = [pid for pid in _session_processes(session_id) if b"spawn_main" in _command_line(pid)]
    if not workers:
        return False
    with suppress(ProcessLookupError):
        os.kill(rng.choice(sorted(workers)), signal.SIGKILL)
        return True
    return False


def _session_processes(session_id: int) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(ProcessLookupError, PermissionError):
                if os.getsid(int(entry.name)) == session_id:
                    pids.append(int(entry.name))
    return pids


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def terminate_backend(connection: "psycopg.Connection[tuple[object, ...]]", rng: random.Random) -> bool:
    """Terminate one active database session of the pipeline; return whether there was one."""
    pids = [pid for (pid,) in connection.execute(_ACTIVE_BACKENDS_SQL)]
    if not pids:
        return False
    connection.execute("SELECT pg_terminate_backend(%s)", (rng.choice(pids),))
    return True
