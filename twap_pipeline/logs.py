"""Logging of every process: one format for the loggers of this package, as text or JSON, on standard error.

`configure_logging` is called by composition roots only: the command line and the Dagster code location; `serve` passes
`log_config` to uvicorn. Modules get a logger by ``logging.getLogger(__name__)`` and pass values as fields with
``extra``. Dagster's own loggers, and ``context.log``, are configured by Dagster.
"""

import logging
import logging.config
import re
import sys
from typing import Any, Literal

PACKAGE = __name__.partition(".")[0]
"""Name of the parent of all loggers of this package."""

LogFormat = Literal["text", "json"]

_WALLET = re.compile(r"\b0x[0-9a-fA-F]{40}\b")
_RESERVED = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}


def redact_wallets(text: str) -> str:
    """Return the text with ``0x***`` instead of each wallet address."""
    return _WALLET.sub("0x***", text)


class _StandardError(logging.Handler):
    """Writes to the current ``sys.stderr``, which a program or a test can replace after the configuration."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one line, without wallet addresses."""
        try:
            sys.stderr.write(redact_wallets(self.format(record)) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.handleError(record)


class _TextFormatter(logging.Formatter):
    """Formats ``TIME LEVEL LOGGER: MESSAGE key=value ...`` with all fields of ``extra``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the standard library
        """Return the line of a record, without its traceback."""
        fields = (f" {name}={value}" for name, value in vars(record).items() if name not in _RESERVED)
        return super().formatMessage(record) + "".join(fields)


def make_formatter(log_format: LogFormat) -> logging.Formatter:
    """Return a formatter; the keys of JSON are time, level, logger, message, traceback and all fields of ``extra``."""
    if log_format == "text":
        return _TextFormatter()
    from pythonjsonlogger.json import JsonFormatter  # in a function: only processes that log JSON need it

    return JsonFormatter(
        ["levelname", "name", "message"],
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
        reserved_attrs=list(_RESERVED),
        json_ensure_ascii=False,
    )


def log_config(level: str, log_format: LogFormat) -> dict[str, Any]:
    """Return a configuration for `logging.config` and for uvicorn. It disables uvicorn's own access log."""
    logger = {"handlers": ["stderr"], "level": level}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": make_formatter, "log_format": log_format}},
        "handlers": {"stderr": {"()": _StandardError, "formatter": "line", "level": level}},
        "loggers": {PACKAGE: logger, "uvicorn": logger, "uvicorn.access": {"handlers": [], "propagate": False}},
    }


def configure_logging(level: str, log_format: LogFormat) -> None:
    """Log the records of this package from this level on standard error, unless the process has configured them."""
    if not logging.getLogger(PACKAGE).handlers:
        logging.config.dictConfig(log_config(level, log_format))
