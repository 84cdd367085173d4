"""A TCP proxy in front of PostgreSQL that can cut, freeze or delay connections, or lose the response to a statement.

The server is real and executes every statement; only the connection fails. Put network faults here, and expectations
into the tests.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 1 << 16
_HOST = "127.0.0.1"


class TcpProxy:
    """A listening port; each connection to it opens one connection to the server.

    Args:
        port: The port of the server.
    """

    def __init__(self, port: int) -> None:
        self.latency_seconds = 0.0
        """Delay before a chunk is forwarded, in both directions."""
        self.lost_responses = 0
        """Number of connections that `lose_response_to` has cut."""
        self._server_port = port
        self._open = threading.Event()
        self._open.set()
        self._statement_to_cut = b""
        self._connections: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server((_HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_response_to(self, statement: bytes) -> None:
        """Cut the next connection that sends this statement when the server responds; the response is not forwarded."""
        self._statement_to_cut = statement

    def cut(self) -> None:
        """Close all open connections; new ones are accepted."""
        while self._connections:
            for connection in self._connections.pop():
                _close(connection)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Forward nothing, and keep the connections open, for the length of the block."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def close(self) -> None:
        """Stop listening and close all connections."""
        _close(self._listener)
        self._open.set()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # `close` closed the listener
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((_HOST, self._server_port))
                self._connections.append((client, server))
                is_cut = threading.Event()
                for source, target in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pump, args=(source, target, is_cut, source is client), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_cut: threading.Event, from_client: bool) -> None:
        with suppress(OSError):  # one socket was closed
            while chunk := source.recv(_CHUNK_BYTES):
                self._open.wait()
                time.sleep(self.latency_seconds)
                if from_client and self._statement_to_cut and self._statement_to_cut in chunk:
                    self._statement_to_cut = b""
                    is_cut.set()
                elif not from_client and is_cut.is_set():
                    self.lost_responses += 1
                    break
                target.sendall(chunk)
        _close(source)
        _close(target)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def tcp_proxy(port: int) -> Iterator[TcpProxy]:
    """Run a proxy in front of the server on this port."""
    proxy = TcpProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
