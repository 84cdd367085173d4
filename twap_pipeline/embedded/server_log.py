"""The file ``server.log`` of the embedded server, and errors that quote its last lines."""

import os
from pathlib import Path

from twap_pipeline.errors import EmbeddedDatabaseError

_TAIL_LINES = 12
_TAIL_BYTES = 8192


def open_log(directory: Path) -> int:
    """Return a descriptor for appending. The server inherits it, so its user needs no access to the path."""
    return os.open(directory / "server.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def log_error(directory: Path, problem: str, advice: str) -> EmbeddedDatabaseError:
    """Return an error with the problem, the last lines of the log, and the advice."""
    path = directory / "server.log"
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:  # it does not exist, or belongs to another user
        lines = []
    text = "\n".join(lines) or "(empty)"
    return EmbeddedDatabaseError(f"{problem}. The server's log, {path}, ends with:\n{text}\n{advice}")
