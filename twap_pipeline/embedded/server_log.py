"""The file ``server.log`` of the embedded server, and errors that quote its last lines."""

import os
from pathlib import Path

from twap_pipeline.errors import EmbeddedDatabaseError

_TAIL_LINES = 12
_TAIL_BYTES = 8192


class ServerLog:
    """Log of the current server, ``server.log``, and of the previous one, ``server.log.1``."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "server.log"

    def rotate(self) -> None:
        """Rename the log of the previous server."""
        if self.path.exists():
            self.path.replace(self.path.with_name("server.log.1"))

    def open(self) -> int:
        """Return a descriptor for appending. The server inherits it, so its user needs no access to the path."""
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def tail(self) -> str:
        """Return the last lines; empty if there is no log, or if it belongs to another user."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def error(self, problem: str, advice: str) -> EmbeddedDatabaseError:
        """Return an error with the problem, the last lines of the log, and the advice."""
        lines = self.tail() or "(empty)"
        return EmbeddedDatabaseError(f"{problem}. The server's log, {self.path}, ends with:\n{lines}\n{advice}")
