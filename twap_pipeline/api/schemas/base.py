"""The base class of the models of ``/api/v2``."""

from pydantic import BaseModel, ConfigDict


class ApiModel(BaseModel):
    """A JSON object without further keys."""

    model_config = ConfigDict(extra="forbid")
