"""A local HTTP server that answers like the exchange's info endpoint."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

SPOT_META = {
    "tokens": [{"name": "USDC", "index": 0}, {"name": "HYPE", "index": 150}, {"name": "USDH", "index": 360}],
    "universe": [
        {"name": "@107", "index": 107, "tokens": [150, 0], "isCanonical": False},
        {"name": "@232", "index": 232, "tokens": [150, 360], "isCanonical": False},
    ],
}


@contextmanager
def exchange_server(body: object = SPOT_META, status: int = 200) -> Iterator[str]:
    """Yield the address of a server that answers ``spotMeta`` with a body, as JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status if request == {"type": "spotMeta"} else 422)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/info?key=canary"
        finally:
            server.shutdown()
            thread.join()
