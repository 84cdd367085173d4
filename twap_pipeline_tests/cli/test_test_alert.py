"""The command ``test-alert`` against real receivers."""

import pytest

from twap_pipeline_tests.cli.command_runner import Command
from twap_pipeline_tests.receivers import http_receiver


def test_test_alert_prints_one_line_per_receiver(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_receiver() as first, http_receiver() as second:
        monkeypatch.setenv("TWAP_ALERT_URLS", f"{first.url},{second.url}")
        sent = command("test-alert")
        second.http_status = 404
        refused = command("test-alert")

    assert (sent.status, sent.out) == (0, "ok    1 (JSON)\nok    2 (JSON)\n")
    assert (refused.status, len(first.messages)) == (1, 2)
    assert "FAIL  receiver 2 (JSON) of TWAP_ALERT_URLS: HTTP status 404" in refused.out
    assert "runbook.md" in first.messages[0]
    assert command("test-alert").err == ""


def test_test_alert_without_urls_is_one_line(command: Command) -> None:
    outcome = command("test-alert")

    assert outcome.status == 1
    assert outcome.err.startswith("error: TWAP_ALERT_URLS is not set: ")
