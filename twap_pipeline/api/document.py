"""The OpenAPI document of the app: FastAPI's own, with failures told in the media type that they come in."""

from typing import Any

from fastapi import FastAPI

from twap_pipeline.api.problems import MEDIA_TYPE

_FAILURES = "45"


class DescribedApp(FastAPI):
    """A FastAPI app whose document tells every failure as a problem (RFC 9457)."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        document = super().openapi()
        for methods in document["paths"].values():
            for operation in methods.values():
                for status, told in operation["responses"].items():
                    content = told.get("content", {})
                    if status[0] in _FAILURES and "application/json" in content:
                        content[MEDIA_TYPE] = content.pop("application/json")
        return document
