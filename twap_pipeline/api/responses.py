"""Builds responses from JSON text that PostgreSQL wrote; declares the error responses of the OpenAPI document."""

import json
from collections.abc import Iterable, Mapping

from fastapi import Response

from twap_pipeline.api.schemas.problems import ProblemBody

ERROR_RESPONSES: dict[int | str, dict[str, object]] = {
    400: {"model": ProblemBody, "description": "The range is reversed or too long, or a value is not valid."},
    401: {"model": ProblemBody, "description": "The operator requires an API key; it is missing or unknown."},
    422: {"model": ProblemBody, "description": "A parameter is not valid; see `errors`."},
    429: {"model": ProblemBody, "description": "Too many requests; see `Retry-After`."},
    503: {"model": ProblemBody, "description": "The database is busy, too slow or unavailable; see `Retry-After`."},
}
"""The error responses of every data route."""


REVALIDATE = "private, no-cache"
"""``Cache-Control`` of responses with an ETag: a client may keep the body, and must ask whether it is current."""


def json_array(rows: Iterable[str]) -> str:
    """Return JSON texts as the text of a JSON array."""
    return f"[{','.join(rows)}]"


def json_response(values: Mapping[str, object], **json_texts: str | None) -> Response:
    """Return a JSON object as a response.

    Args:
        values: Keys and values. A key that is also in ``json_texts`` only determines the position of that key.
        json_texts: Keys and values that are JSON text already; None: the value in ``values`` is used.
    """
    parts = (f"{json.dumps(name)}:{json_texts.get(name) or json.dumps(value)}" for name, value in values.items())
    headers = {"Cache-Control": REVALIDATE}
    return Response(f"{{{','.join(parts)}}}", media_type="application/json", headers=headers)
