"""The OpenAPI document: FastAPI's own, with the media type of error responses corrected.

The 422 of ``/api/v1`` is FastAPI's own body, in ``application/json``.
"""

from typing import Any

from fastapi import FastAPI

from twap_pipeline.api.errors import MEDIA_TYPE
from twap_pipeline.api.routes import V1


class ProblemDetailsFastAPI(FastAPI):
    """A FastAPI app whose document describes 4xx and 5xx responses as ``application/problem+json`` (RFC 9457)."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        document = super().openapi()
        for path, operations in document["paths"].items():
            for operation in operations.values():
                for status, description in operation["responses"].items():
                    content = description.get("content", {})
                    if path.startswith(V1) and status == "422":
                        continue
                    if status.startswith(("4", "5")) and "application/json" in content:
                        content[MEDIA_TYPE] = content.pop("application/json")
        return document
