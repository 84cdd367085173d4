"""Error responses (RFC 9457), and the only mapping from exceptions to HTTP status codes.

A body states what failed and what to do. It never contains SQL, a file path, an address or a credential. The database's
message goes to the log, under the request ID.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twap_pipeline.api.routes import V1
from twap_pipeline.api.schemas.problems import InvalidParameter, ProblemBody
from twap_pipeline.errors import ExportError

MEDIA_TYPE = "application/problem+json"
_MESSAGE_CHARACTERS_MAX = 500
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """The content of an error response; ``retry_after_seconds`` is None if a retry does not help."""

    status: int
    title: str
    detail: str
    retry_after_seconds: float | None = None
    headers: Mapping[str, str] | None = None


class ProblemError(Exception):
    """Ends a request with an error response."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


BUSY = Problem(503, "Service unavailable", "All database connections are in use. Repeat the request shortly.", 1)
UNAVAILABLE = Problem(503, "Database unavailable", "The database is not reachable. Repeat the request shortly.", 5)
TOO_SLOW = Problem(
    503, "Query timeout", "The query exceeded the statement timeout. Narrow the range or add a filter.", 5
)
NOT_AT_HEAD = Problem(
    503, "Schema not ready", "The database is not at the schema revision that this API needs; see /readyz.", 30
)
FORBIDDEN = Problem(
    503, "Permission denied", "The API's database role lacks a permission. The operator must grant it.", 30
)
INVALID_VALUE = Problem(400, "Invalid value", "The value of a parameter is not valid in PostgreSQL.")
UNEXPECTED = Problem(500, "Internal error", "The request failed because of a defect. Report the `request_id`.")

_PROBLEMS_BY_SQLSTATE = {
    "57014": TOO_SLOW,  # query_canceled
    "42P01": NOT_AT_HEAD,  # undefined_table
    "42703": NOT_AT_HEAD,  # undefined_column
    "42501": FORBIDDEN,  # insufficient_privilege
    "25006": FORBIDDEN,  # read_only_sql_transaction
}
"""By SQLSTATE (PostgreSQL, appendix A)."""


def problem_from_database(error: SQLAlchemyError) -> Problem:
    """Return the error response for a failed statement or connection."""
    if isinstance(error, PoolTimeoutError):
        return BUSY
    if not isinstance(error, DBAPIError):
        return UNEXPECTED
    if problem := _PROBLEMS_BY_SQLSTATE.get(getattr(error.orig, "sqlstate", None) or ""):
        return problem
    if isinstance(error, DataError):
        return INVALID_VALUE
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return UNAVAILABLE
    return UNEXPECTED


def response(request: Request, problem: Problem, errors: list[InvalidParameter] | None = None) -> JSONResponse:
    """Return a problem as the response to a request."""
    headers = dict(problem.headers or {})
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after_seconds))
    body = ProblemBody(
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        request_id=getattr(request.state, "request_id", None),
        errors=errors,
    )
    return JSONResponse(body.model_dump(exclude_none=True), problem.status, headers, media_type=MEDIA_TYPE)


async def _on_problem(request: Request, error: ProblemError) -> JSONResponse:
    return response(request, error.problem)


async def _on_refused_export(request: Request, error: ExportError) -> JSONResponse:
    return response(request, Problem(409, "Export refused", str(error)))


async def _on_database_error(request: Request, error: SQLAlchemyError) -> JSONResponse:
    problem = problem_from_database(error)
    level = logging.ERROR if problem is UNEXPECTED else logging.WARNING
    _log.log(level, "database error: %s", problem.title, extra={"error": _driver_message(error)})
    return response(request, problem)


def _driver_message(error: BaseException) -> str:
    """Return the driver's message in one line, without the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:_MESSAGE_CHARACTERS_MAX]


async def _on_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    if request.scope["route"].path.startswith(V1):
        return await request_validation_exception_handler(request, error)
    errors = [
        InvalidParameter(parameter=".".join(map(str, detail["loc"][1:])), message=str(detail["msg"]))
        for detail in error.errors()
    ]
    return response(request, Problem(422, "Validation error", "Fix the parameters listed in `errors`."), errors)


async def _on_http_error(request: Request, error: HTTPException) -> JSONResponse:
    details = {
        404: "This path does not exist; see /docs.",
        405: "This API only supports GET and HEAD.",
    }
    title = str(error.detail)
    detail = details.get(error.status_code, title)
    headers = {"Allow": "GET, HEAD"} if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
    return response(request, Problem(error.status_code, title, detail, headers=headers))


class UnhandledErrorMiddleware:
    """Returns a problem for an exception without a handler, so that outer middleware adds its headers to it (CORS).

    If the response has begun, the exception is raised: the server then closes the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request; log the traceback of an unhandled exception."""
        has_started = False

        async def send_and_record(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        except Exception:  # whatever a route raises: a 500 without a response would have no CORS headers
            if scope["type"] != "http" or has_started:
                raise
            _log.exception("unhandled exception")
            await response(Request(scope), UNEXPECTED)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Register the exception handlers and the middleware of all other exceptions."""
    app.exception_handler(ProblemError)(_on_problem)
    app.exception_handler(ExportError)(_on_refused_export)
    app.exception_handler(SQLAlchemyError)(_on_database_error)
    app.exception_handler(RequestValidationError)(_on_validation_error)
    app.exception_handler(HTTPException)(_on_http_error)
    app.add_middleware(UnhandledErrorMiddleware)
