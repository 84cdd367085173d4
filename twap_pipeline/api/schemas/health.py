"""Liveness and readiness."""

from typing import Literal

from pydantic import BaseModel, Field

from twap_pipeline.api.schemas.base import ApiModel
from twap_pipeline.api.schemas.v1 import Timestamp


class Health(BaseModel):
    """The state of the service. The HTTP status is 200 in both cases: the process is alive."""

    status: Literal["healthy", "degraded"]
    database: str = Field(description="`connected`, or `error: ` and the kind of error.", examples=["connected"])
    last_ingested_object: str | None = Field(description="Key of the object that was ingested last.")
    last_ingested_at: Timestamp | None


class Readiness(ApiModel):
    """The API can serve requests."""

    status: Literal["ready"]
    revision: str = Field(description="Alembic revision of the database.", examples=["008"])
