"""The log of the embedded server, and how its end gets into an error.

Here belongs the file ``server.log``; what an error advises is decided where it is raised.
"""

import os
from pathlib import Path

from twap_pipeline.errors import EmbeddedDatabaseError

_TAIL_LINES = 12
_TAIL_BYTES = 8192


class ServerLog:
    """The log of the running server, and beside it, as ``server.log.1``, that of the one before."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "server.log"

    def rotate(self) -> None:
        """Put the last server's log aside."""
        if self.path.exists():
            self.path.replace(self.path.with_name("server.log.1"))

    def open(self) -> int:
        """Open for appending; the server writes through this descriptor, so its account need not reach the path."""
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def tail(self) -> str:
        """Read the last lines; none if there is no log, or one of another user."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def error(self, what: str, advice: str) -> EmbeddedDatabaseError:
        """Build an error that says what failed, shows the log's end and says what to do."""
        lines = self.tail() or "(nothing)"
        return EmbeddedDatabaseError(f"{what}. The server's log, {self.path}, ends with:\n{lines}\n{advice}")
