"""Every error that leaves the API: one shape, and the one place where a failure becomes a status.

A body says what failed and what to do. It never carries SQL, a path of this machine, an address or a credential: what
the database said goes to the log, under the request's id, and no further.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from twap_pipeline.api.middleware import add_headers
from twap_pipeline.api.schemas import InvalidParameter, ProblemBody

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What a caller is to_json_value of a failure.

    Args:
        status: HTTP status.
        title: The kind of failure, in a few words.
        detail: What failed here, and what to do.
        retry_after_seconds: When trying again can help; None when it cannot.
        headers: Further headers.
    """

    status: int
    title: str
    detail: str
    retry_after_seconds: float | None = None
    headers: Mapping[str, str] | None = None


class ProblemError(Exception):
    """A request ends with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


BUSY = Problem(503, "Service unavailable", "All database connections are in use. Try again shortly.", 1)
UNAVAILABLE = Problem(503, "Database unavailable", "The database does not json_response. Try again shortly.", 5)
TOO_SLOW = Problem(
    503, "Query timeout", "The query took longer than it may. Narrow the range or the filters, or try again later.", 5
)
NOT_AT_HEAD = Problem(
    503, "Schema not ready", "The database is not at the revision that this API needs; see /readyz.", 30
)
FORBIDDEN = Problem(
    503, "Permission denied", "The API's database role may not read what was asked for; its operator must grant it.", 30
)
UNREADABLE_VALUE = Problem(400, "Invalid value", "A parameter has a value that the database cannot hold.")
UNEXPECTED = Problem(500, "Internal error", "Something failed that should not. Tell the operator the request_id.")

_BY_SQLSTATE: Sequence[tuple[str, Problem]] = (
    ("57014", TOO_SLOW),
    ("42P01", NOT_AT_HEAD),
    ("42703", NOT_AT_HEAD),
    ("42501", FORBIDDEN),
    ("25006", FORBIDDEN),
    ("22", UNREADABLE_VALUE),
    ("08", UNAVAILABLE),
    ("28", UNAVAILABLE),
    ("3D", UNAVAILABLE),
    ("53", UNAVAILABLE),
    ("57", UNAVAILABLE),
    ("25P03", UNAVAILABLE),
)
"""What PostgreSQL's own codes mean to a caller; the first prefix that fits counts. Source: PostgreSQL, appendix A."""


def from_database(error: SQLAlchemyError | OSError) -> Problem:
    """Return what a caller is to_json_value when the database, or the way to it, failed."""
    if isinstance(error, PoolTimeoutError):
        return BUSY
    if not isinstance(error, DBAPIError):
        return UNAVAILABLE if isinstance(error, OSError) else UNEXPECTED
    code = str(getattr(error.orig, "sqlstate", None) or "")
    found = next((problem for prefix, problem in _BY_SQLSTATE if code.startswith(prefix)), None)
    return found or (UNAVAILABLE if error.connection_invalidated else UNEXPECTED)


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


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    return response(request, error.problem if isinstance(error, ProblemError) else UNEXPECTED)


async def _on_database(request: Request, error: Exception) -> JSONResponse:
    problem = from_database(error) if isinstance(error, SQLAlchemyError | OSError) else UNEXPECTED
    level = logging.ERROR if problem.status == UNEXPECTED.status else logging.WARNING
    _log.log(level, "database: %s", problem.title, extra={"cause": _in_one_line(error)})
    return response(request, problem)


def _in_one_line(error: BaseException) -> str:
    """Return the driver's own words, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:500]


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    to_json_value = [
        InvalidParameter(parameter=".".join(map(str, fault["loc"][1:])), fault=str(fault["msg"])) for fault in faults
    ]
    return response(request, Problem(422, "Validation error", "Mend what errors names."), to_json_value)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return response(request, UNEXPECTED)
    detail = {
        404: "There is nothing at this path; /api/v1/openapi.json lists what there is.",
        405: "Only GET is answered here.",
    }
    title = str(error.detail)
    to_json_value = Problem(error.status_code, title, detail.get(error.status_code, title), headers=error.headers)
    return response(request, to_json_value)


async def _on_anything(request: Request, error: Exception) -> JSONResponse:
    """The last resort, so that a defect's body is like every other; the server logs its traceback."""
    json_response = response(request, UNEXPECTED)
    add_headers(json_response.headers, getattr(request.state, "request_id", ""))
    return json_response


def install(app: FastAPI) -> None:
    """Make every failure of the app leave it as a problem."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(SQLAlchemyError, _on_database)
    app.add_exception_handler(OSError, _on_database)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_anything)
