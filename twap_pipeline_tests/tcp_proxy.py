"""A TCP proxy before PostgreSQL that tests tell to cut, to freeze, to be slow, or to lose the answer to one statement.

The server behind it is real and does what it was told; only the way there and back is disturbed. Here belongs what
can happen on a line. What the code then makes of it is the tests'.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 1 << 16
_HOST = "127.0.0.1"


class TcpProxy:
    """One listening port; each connection to it is one connection to the server.

    Args:
        port: The server's.
    """

    def __init__(self, port: int) -> None:
        self.latency_seconds = 0.0
        """Waited before each piece is passed on, in both directions."""
        self.lost_answers = 0
        """Connections that were cut because of `lose_the_answer_to`."""
        self._server_port = port
        self._open = threading.Event()
        self._open.set()
        self._fatal = b""
        self._lines: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server((_HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_the_answer_to(self, statement: bytes) -> None:
        """Cut the next connection that sends this, once the server has answered, and keep the answer back."""
        self._fatal = statement

    def cut(self) -> None:
        """End all present connections; new ones are served."""
        while self._lines:
            for end in self._lines.pop():
                _close(end)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Pass nothing on, and close nothing, for the length of a block."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def close(self) -> None:
        """End everything."""
        _close(self._listener)
        self._open.set()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((_HOST, self._server_port))
                self._lines.append((client, server))
                doomed = threading.Event()
                for source, target in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pump, args=(source, target, doomed, source is client), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, target: socket.socket, doomed: threading.Event, from_client: bool) -> None:
        with suppress(OSError):  # an end was closed
            while piece := source.recv(_CHUNK_BYTES):
                self._open.wait()
                time.sleep(self.latency_seconds)
                if from_client and self._fatal and self._fatal in piece:
                    self._fatal = b""
                    doomed.set()
                elif not from_client and doomed.is_set():
                    self.lost_answers += 1
                    break
                target.sendall(piece)
        _close(source)
        _close(target)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def tcp_proxy(port: int) -> Iterator[TcpProxy]:
    """Run a proxy before the server on this port."""
    proxy = TcpProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
