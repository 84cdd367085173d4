"""The notifier: real receivers, and errors without any part of a URL."""

import traceback

import pytest
from pydantic import SecretStr

from twap_pipeline.defs.notifier import open_targets
from twap_pipeline.errors import ConfigurationError
from twap_pipeline_tests.receivers import smtp_receiver


def test_send_by_smtp_delivers_an_email() -> None:
    with smtp_receiver() as receiver:
        url = f"mailto://127.0.0.1:{receiver.port}?from=twap@example.org&to=a@example.org,b@example.org&mode=insecure"
        (target,) = open_targets(SecretStr(url))
        target.send("the title", "the body")

    assert len(receiver.messages) == 2
    assert "Subject: the title" in receiver.messages[0]
    assert "the body" in receiver.messages[0]


@pytest.mark.fault("X2")
@pytest.mark.parametrize(
    "urls",
    [
        "json://ops:canary-password@127.0.0.1:9/canary-token",
        "jsons://127.0.0.1:9/canary",
        "https://127.0.0.1:9/services/canary",
        "json://127.0.0.1:canary/x",
        "slack://canary",
        "mailto://canary:canary-password@127.0.0.1",
        "canary",
        "json://127.0.0.1:9/x, canary://canary",
        ",",
    ],
)
def test_send_to_an_unusable_url_error_omits_it(urls: str, capfd: pytest.CaptureFixture[str]) -> None:
    def send() -> None:
        for target in open_targets(SecretStr(urls)):
            target.send("title", "text")

    with pytest.raises(ConfigurationError, match="TWAP_ALERT_URLS") as caught:
        send()

    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert "canary" not in "".join(capfd.readouterr())
