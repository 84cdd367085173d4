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
        started = time.perf_counter()
        status, sent_bytes, is_complete = 0, 0, False

        async def send_and_record(message: Message) -> None:
            nonlocal status, sent_bytes, is_complete
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message), request_id)
                status = message["status"]
            await send(message)
            if message["type"] == "http.response.body":
                sent_bytes += len(message.get("body", b""))
                is_complete = not message.get("more_body", False)

        try:
            with self._metrics.in_progress.track_inprogress():
                await self._app(scope, receive, send_and_record)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            seconds = time.perf_counter() - started
            is_aborted = status > 0 and not is_complete
            self._metrics.requests.labels(route, str(status or 500)).inc()
            self._metrics.duration_seconds.labels(route).observe(seconds)
            if is_aborted:
                self._metrics.aborted.labels(route).inc()
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"],
                "status": status or 500,
                "seconds": round(seconds, 4),
                "bytes": sent_bytes,
                "client": (scope.get("client") or ("-",))[0],
            }
            level = logging.INFO if status and is_complete else logging.WARNING
            _log.log(level, "response aborted" if is_aborted else "request", extra=fields)


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


def _add_headers(headers: MutableHeaders, request_id: str) -> None:
    """Add the headers that every response has; headers that the route set stay."""
    headers["X-Request-ID"] = request_id
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
