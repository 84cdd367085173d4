"""The body of error responses (RFC 9457)."""

from pydantic import Field

from twap_pipeline.api.schemas.base import ApiModel


class InvalidParameter(ApiModel):
    """One invalid parameter."""

    parameter: str
    message: str


class ProblemBody(ApiModel):
    """An error (RFC 9457)."""

    title: str
    status: int = Field(examples=[422])
    detail: str = Field(examples=["Fix the parameters listed in `errors`."])
    request_id: str | None = Field(default=None, description="Also in X-Request-ID and in the server's log.")
    errors: list[InvalidParameter] | None = None
