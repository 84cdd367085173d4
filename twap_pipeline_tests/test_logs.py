"""Log lines of every process: fields, formats, level, and no wallet addresses."""

import json
import logging

import pytest

from twap_pipeline.logs import LogFormat, configure_logging
from twap_pipeline_tests.factories import WALLET

pytestmark = pytest.mark.unit
LOGGER = logging.getLogger("twap_pipeline.ingest.load")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log_lines_have_fields_and_no_wallets(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", log_format)

    LOGGER.debug("hidden")
    LOGGER.info("object loaded", extra={"object_key": "a.parquet", "run_id": None, "rows": 3, "owner": WALLET})

    (line,) = capsys.readouterr().err.splitlines()
    assert "0xbcb8" not in line
    if log_format == "json":
        fields = json.loads(line)
        assert fields.pop("time").endswith("+00:00")
        assert fields == {
            "level": "INFO",
            "logger": LOGGER.name,
            "message": "object loaded",
            "object_key": "a.parquet",
            "run_id": None,
            "rows": 3,
            "owner": "0x***",
        }
    else:
        end = " INFO twap_pipeline.ingest.load: object loaded object_key=a.parquet run_id=None rows=3 owner=0x***"
        assert line.endswith(end)


def test_configure_logging_keeps_an_earlier_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """A command configures its process before it imports the code location."""
    configure_logging("WARNING", "text")
    configure_logging("INFO", "json")

    LOGGER.info("hidden")

    assert capsys.readouterr().err == ""
