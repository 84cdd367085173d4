"""The middleware of every request: request ID, log line, metrics, security headers, ETag, and HEAD for GET routes.

These are plain ASGI middlewares, because they handle streamed responses.
"""

import asyncio
import hashlib
import logging
import re
import time
import uuid
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twap_pipeline.api.metrics import Metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}")
_log = logging.getLogger("twap_pipeline.api")

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
"""Headers of each response that does not set them itself; the web page sets its own policy."""


class RequestLoggingMiddleware:
    """Logs and counts each request when its response ends."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run an HTTP request; pass any other scope to the app unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = Headers(scope=scope).get("x-request-id", "")
        request_id = header if _REQUEST_ID.fullmatch(header) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        tracker = _ResponseTracker(request_id, send)
        with self._metrics.in_progress.track_inprogress():
            try:
                await self._app(scope, receive, tracker.send)
            finally:
                self._record(scope, tracker)

    def _record(self, scope: Scope, tracker: "_ResponseTracker") -> None:
        route = getattr(scope.get("route"), "path", "other")
        seconds = time.perf_counter() - tracker.started
        status = tracker.status or 500
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.duration_seconds.labels(route).observe(seconds)
        if tracker.is_aborted:
            self._metrics.aborted.labels(route).inc()
        fields = {
            "request_id": tracker.request_id,
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
            "bytes": tracker.bytes,
            "client": (scope.get("client") or ("-",))[0],
        }
        level = logging.WARNING if tracker.is_aborted or not tracker.status else logging.INFO
        _log.log(level, "response aborted" if tracker.is_aborted else "request", extra=fields)


class HeadMiddleware:
    """Runs a HEAD request as GET and sends the headers without the body; a streamed body is not generated further."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request; pass any other than HEAD to the app unchanged."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        is_sent = asyncio.Event()

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            elif not is_sent.is_set():
                is_sent.set()
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def receive_disconnect() -> Message:
            await is_sent.wait()  # ends a streamed response, as if the client had disconnected
            return {"type": "http.disconnect"}

        get_scope = {**scope, "method": "GET"}
        try:
            await self._app(get_scope, receive_disconnect, send_headers)
        finally:
            scope["route"] = get_scope.get("route")


class ETagMiddleware:
    """Adds an ETag to responses that a client must revalidate, and answers ``If-None-Match`` with 304.

    It concerns responses of one chunk with status 200 and ``Cache-Control: … no-cache``. The query runs in any case: a
    304 saves the transfer and the parsing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request; pass any scope but HTTP to the app unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = {tag.strip().removeprefix("W/") for tag in Headers(scope=scope).get("if-none-match", "").split(",")}
        start: Message | None = None

        async def send_with_etag(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = Headers(raw=message["headers"])
                if message["status"] == HTTPStatus.OK and "no-cache" in headers.get("cache-control", ""):
                    start = message
                    return
            elif start is not None:
                message = _add_etag(start, message, known)
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, send_with_etag)


def _add_etag(start: Message, body: Message, known: set[str]) -> Message:
    """Add the ETag of a complete body to the response; return the body to send, empty if the client has it.

    The tag is weak, because the body may be compressed afterwards.
    """
    if body.get("more_body", False):
        return body
    tag = f'"{hashlib.blake2b(body.get("body", b""), digest_size=16).hexdigest()}"'
    headers = MutableHeaders(scope=start)
    headers["ETag"] = f"W/{tag}"
    if not known & {tag, "*"}:
        return body
    start["status"] = HTTPStatus.NOT_MODIFIED.value
    for name in ("content-length", "content-type"):
        del headers[name]
    return {**body, "body": b""}


class _ResponseTracker:
    """Passes on the messages of one response and records its status, its size and whether it was completed."""

    def __init__(self, request_id: str, send: Send) -> None:
        self.request_id = request_id
        self.started = time.perf_counter()
        self.status: int | None = None
        self.bytes = 0
        self._is_complete = False
        self._send = send

    @property
    def is_aborted(self) -> bool:
        """Whether the response began and was not completed."""
        return self.status is not None and not self._is_complete

    async def send(self, message: Message) -> None:
        """Pass on a message; add the common headers to the first."""
        if message["type"] == "http.response.start":
            add_headers(MutableHeaders(scope=message), self.request_id)
            self.status = message["status"]
        await self._send(message)
        if message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
            self._is_complete = not message.get("more_body", False)


def add_headers(headers: MutableHeaders, request_id: str) -> None:
    """Add the headers that every response has; headers that the route set stay."""
    headers["X-Request-ID"] = request_id
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
