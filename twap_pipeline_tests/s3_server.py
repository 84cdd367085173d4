"""A real S3 protocol on loopback: moto behind a layer that enforces requester-pays and plays faults.

moto itself asks neither for the requester-pays header nor for credentials, so a test against it alone would prove
nothing. The layer refuses every LIST, HEAD and GET without the header, counts what was asked, and lets a test stand
in the way of single answers.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Fault = Callable[[Request, Response], Response]
"""Sees a request and moto's answer to it, and returns the answer that is sent."""

AWS_SECRET = "canary-aws-secret-that-nothing-may-tell"
"""The secret key of every test's credentials: no output may hold it."""

_DENIED = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"""


@dataclass
class S3Server:
    """The running server.

    Args:
        url: Its endpoint.
        requests: Requests by kind: ``LIST``, ``GET``, ``HEAD``, ``PUT``.
        faults: Applied in turn to every answer of a GET or LIST; a test sets and clears them.
    """

    url: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def client(self) -> "S3Client":
        """Return a client for filling buckets."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", config=Config(retries={"max_attempts": 0})
        )

    def reset(self) -> None:
        """Forget every bucket, count and fault."""
        self.faults.clear()
        with urlopen(UrlRequest(f"{self.url}/moto-api/reset", method="POST")):
            self.requests.clear()

    def answer(self, environ: Environ, start_response: StartResponse, backend: Any) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        kind = _kind(request)
        self.requests[kind] += 1
        if kind in ("LIST", "GET", "HEAD") and request.headers.get("x-amz-request-payer") != "requester":
            return Response(_DENIED, 403, mimetype="application/xml")(environ, start_response)
        body, status, headers = run_wsgi_app(backend, environ, buffered=True)
        response = Response(b"".join(body), status, headers)
        if kind in ("LIST", "GET"):
            for fault in self.faults:
                response = fault(request, response)
        return response(environ, start_response)


def _kind(request: Request) -> str:
    if request.method == "GET" and ("list-type" in request.args or request.path.count("/") == 1):
        return "LIST"
    return request.method


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run the server in a thread."""
    server = S3Server()
    backend = DomainDispatcherApplication(create_backend_app)
    http = make_server("127.0.0.1", 0, lambda environ, start: server.answer(environ, start, backend), threaded=True)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
