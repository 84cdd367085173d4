"""Structured logs of the API and of uvicorn: one JSON object per line on standard error."""

from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

LOGGER = "twap_pipeline.api"


def make_formatter() -> JsonFormatter:
    """Return a formatter whose keys are ``time``, ``level``, ``logger``, ``message``, ``traceback`` and all extras."""
    return JsonFormatter(
        ["levelname", "name", "message"],
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],
        json_ensure_ascii=False,
    )


def log_config(level: str = "INFO") -> dict[str, Any]:
    """Return a configuration for `logging.config` and for uvicorn. It disables uvicorn's own access log."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": make_formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            "twap_pipeline": {"handlers": ["stderr"], "level": level, "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": level, "propagate": False},
            "uvicorn.access": {"handlers": [], "propagate": False},
        },
    }
