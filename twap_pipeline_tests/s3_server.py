"""An S3 endpoint on loopback: moto behind a WSGI layer that requires the requester-pays header and injects faults.

moto checks neither the requester-pays header nor credentials, so a test against moto alone proves nothing. The layer
returns 403 for each LIST, HEAD and GET without the header, counts requests, and applies the faults of a test to
responses. moto and boto3 are imported when a server or client is made: tests without S3 do not pay for the import.
"""

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import Request as UrlRequest
from urllib.request import urlopen
from xml.sax.saxutils import escape

from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Fault = Callable[[Request, Response], Response]
"""Function of a request and moto's response; returns the response to send."""

_CONTENTS_XML = (
    "<Contents><Key>{}</Key><LastModified>2025-09-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;00000000000000000000000000000000&quot;</ETag><Size>1</Size></Contents>"
)
_ACCESS_DENIED_XML = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"""


@dataclass
class S3Server:
    """The running server.

    Args:
        url: The endpoint.
        requests: Number of requests by kind: ``LIST``, ``GET``, ``HEAD``, ``PUT``.
        faults: Applied in order to the response of every GET and LIST request. A test sets and clears them.
    """

    url: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    _clients: dict[str | None, "S3Client"] = field(default_factory=dict, init=False)

    def client(self, user_agent: str | None = None) -> "S3Client":
        """Return a client that writes objects. Making one costs more than a request: each is made once.

        Args:
            user_agent: Added to the User-Agent header, so that a fault can exclude these requests.
        """
        import boto3
        from botocore.config import Config

        if user_agent not in self._clients:
            config = Config(retries={"max_attempts": 0}, user_agent_extra=user_agent)
            self._clients[user_agent] = boto3.client(
                "s3", endpoint_url=self.url, region_name="us-east-1", config=config
            )
        return self._clients[user_agent]

    def put_objects(self, bucket: str, keys: Iterable[str]) -> None:
        """Create objects of one byte without a request each: thousands take less than a second."""
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for key in keys:
            backend.put_object(bucket, key, b"x")

    def reset(self) -> None:
        """Remove all buckets, counts and faults."""
        self.faults.clear()
        with urlopen(UrlRequest(f"{self.url}/moto-api/reset", method="POST")):
            self.requests.clear()

    def handle(self, environ: Environ, start_response: StartResponse, backend: Any) -> Iterable[bytes]:
        """Handle one request."""
        request = Request(environ)
        kind = _kind(request)
        self.requests[kind] += 1
        if kind in ("LIST", "GET", "HEAD") and request.headers.get("x-amz-request-payer") != "requester":
            return Response(_ACCESS_DENIED_XML, 403, mimetype="application/xml")(environ, start_response)
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


def made_up_listing(keys: Sequence[str], page_keys: int = 1_000) -> Fault:
    """Return a fault that replaces the response of every LIST request by pages of these keys."""
    ordered = sorted(keys)

    def list_keys(request: Request, response: Response) -> Response:
        if _kind(request) != "LIST":
            return response
        below = request.args.get("prefix", "")
        after = request.args.get("continuation-token", request.args.get("start-after", ""))
        first = bisect_right(ordered, after) if after >= below else bisect_left(ordered, below)
        page = list(takewhile(lambda key: key.startswith(below), ordered[first : first + page_keys + 1]))
        is_truncated = len(page) > page_keys
        token = f"<NextContinuationToken>{escape(page[page_keys - 1])}</NextContinuationToken>" if is_truncated else ""
        items = "".join(_CONTENTS_XML.format(escape(quote(key))) for key in page[:page_keys])
        head = f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated><EncodingType>url</EncodingType>{token}"
        return Response(f"<ListBucketResult>{head}{items}</ListBucketResult>", 200, mimetype="application/xml")

    return list_keys


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Yield a server that runs in a thread."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    server = S3Server()
    backend = DomainDispatcherApplication(create_backend_app)
    http = make_server("127.0.0.1", 0, lambda environ, start: server.handle(environ, start, backend), threaded=True)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
