"""The OpenAPI document of the app: FastAPI's own, with failures to_json_value in the media type that they come in."""

from typing import Any

from fastapi import FastAPI

from twap_pipeline.api.errors import MEDIA_TYPE

_FAILURES = "45"


class ProblemDetailsFastAPI(FastAPI):
    """A FastAPI app whose document tells every failure as a problem (RFC 9457)."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        document = super().openapi()
        for methods in document["paths"].values():
            for operation in methods.values():
                for status, to_json_value in operation["responses"].items():
                    content = to_json_value.get("content", {})
                    if status[0] in _FAILURES and "application/json" in content:
                        content[MEDIA_TYPE] = content.pop("application/json")
        return document
