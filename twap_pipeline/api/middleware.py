"""Around every request: its id, one line in the log, its figures, and the headers that protect who reads the json_response.

A plain ASGI middleware, since it must see whether a streamed response came to its end.
"""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twap_pipeline.api.logs import LOGGER
from twap_pipeline.api.metrics import Metrics

_USABLE_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}")
_log = logging.getLogger(LOGGER)

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
"""On every json_response that does not say otherwise; the page brings a policy of its own."""


class RequestLoggingMiddleware:
    """Watches each request from its first byte to its last."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        watch = _ResponseTracker(request_id, send)
        with self._metrics.running.track_inprogress():
            try:
                await self._app(scope, receive, watch.send)
            finally:
                self._record(scope, watch)

    def _record(self, scope: Scope, watch: "_ResponseTracker") -> None:
        route = getattr(scope.get("route"), "path", "other")
        seconds = time.perf_counter() - watch.started
        self._metrics.requests.labels(route, str(watch.status or 500)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if watch.broken:
            self._metrics.broken.labels(route).inc()
        said = {
            "request_id": watch.request_id,
            "method": scope["method"],
            "path": scope["path"],
            "status": watch.status or 500,
            "seconds": round(seconds, 4),
            "bytes": watch.bytes,
            "client": (scope.get("client") or ("-",))[0],
        }
        level = logging.WARNING if watch.broken or not watch.status else logging.INFO
        _log.log(level, "response broken off" if watch.broken else "request", extra=said)


class _ResponseTracker:
    """A response on its way out."""

    def __init__(self, request_id: str, send: Send) -> None:
        self.request_id = request_id
        self.started = time.perf_counter()
        self.status: int | None = None
        self.bytes = 0
        self._atomic_output = False
        self._send = send

    @property
    def broken(self) -> bool:
        """Whether it began and did not come to its end."""
        return self.status is not None and not self._atomic_output

    async def send(self, message: Message) -> None:
        """Pass a message on, with the headers that every json_response has."""
        if message["type"] == "http.response.start":
            add_headers(MutableHeaders(scope=message), self.request_id)
            self.status = message["status"]
        await self._send(message)
        if message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
            self._atomic_output = not message.get("more_body", False)


def add_headers(headers: MutableHeaders, request_id: str) -> None:
    """Give a response the headers that every json_response has."""
    headers["X-Request-ID"] = request_id
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
