"""Answers put together from rows that are JSON text already."""

import json
from collections.abc import Iterable, Mapping

from fastapi import Response

from twap_pipeline.api.schemas import ProblemBody

ERROR_RESPONSES: dict[int | str, dict[str, object]] = {
    400: {"model": ProblemBody, "description": "A reversed or too long range, or an unusable cursor."},
    401: {"model": ProblemBody, "description": "The operator asks for API keys, and no known one was given."},
    422: {"model": ProblemBody, "description": "A parameter is unusable; errors tells which and why."},
    429: {"model": ProblemBody, "description": "Too many requests; see Retry-After."},
    503: {"model": ProblemBody, "description": "Busy, too slow, or the database is away; see Retry-After."},
}
"""How a route of data can refuse."""


def json_array(rows: Iterable[str]) -> str:
    """Return JSON texts as a JSON list."""
    return f"[{','.join(rows)}]"


def json_response(values: Mapping[str, object], **written: str) -> Response:
    """Return a JSON object as a response.

    Args:
        values: Keys and values to write as JSON; a key of ``written`` may be among them, to have its place.
        written: Keys and their values in JSON.
    """
    parts = (f"{json.dumps(name)}:{written.get(name) or json.dumps(value)}" for name, value in values.items())
    return Response(f"{{{','.join(parts)}}}", media_type="application/json")
