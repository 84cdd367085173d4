"""Receivers of alerts in this process: an HTTP server for Apprise's ``json://`` and an SMTP server for ``mailto://``."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer


@dataclass
class Receiver:
    """What a server received.

    Args:
        port: Its port on 127.0.0.1.
        messages: The messages that it accepted: title and body, or the lines of an email.
        http_status: Status of its responses; above 299 it accepts nothing.
    """

    port: int = 0
    messages: list[str] = field(default_factory=list)
    http_status: int = 200

    @property
    def url(self) -> str:
        """Apprise URL of an HTTP receiver, with a token and a password that no output may contain."""
        return f"json://ops:canary-password@127.0.0.1:{self.port}/canary-token"


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """Run an HTTP receiver for the length of the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if receiver.http_status < 300:
                receiver.messages.append(f"{message['title']}\n\n{message['message']}")
            self.send_response(receiver.http_status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Disable the request log."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server, _served(server):
        receiver.port = server.server_port
        yield receiver


@contextmanager
def smtp_receiver() -> Iterator[Receiver]:
    """Run an SMTP receiver without TLS and authentication for the length of the block."""
    receiver = Receiver()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 test\r\n")
            while line := self.rfile.readline():
                command = line.strip().upper()
                if command == b"DATA":
                    self.wfile.write(b"354 go\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    receiver.messages.append(b"".join(lines).decode())
                self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server, _served(server):
        receiver.port = server.server_address[1]
        yield receiver


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
