"""The HTTP protocol of the server: uvicorn's, with a limit on how long a connection can be without a request.

uvicorn has no timeout for request headers. Without one, clients that open connections and send no request, or half of
one, use up the process's file descriptors.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

REQUEST_TIMEOUT_SECONDS = 10.0
"""Seconds in which a connection must complete the headers of its next request; checked at this interval."""


class RequestTimeoutProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # a class chosen at run time
    """Closes connections that are idle or send request headers too slowly."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to check the connection."""
        super().connection_made(transport)
        self._checked_request: Any = None
        self._check = self.loop.call_later(REQUEST_TIMEOUT_SECONDS, self._close_without_request)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the checks."""
        self._check.cancel()
        super().connection_lost(exc)

    def _close_without_request(self) -> None:
        request = self.cycle
        is_waiting = request is None or request.response_complete
        if is_waiting and request is self._checked_request:
            self.transport.abort()
            return
        self._checked_request = request
        self._check = self.loop.call_later(REQUEST_TIMEOUT_SECONDS, self._close_without_request)
