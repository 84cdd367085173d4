"""Sends messages to the Apprise URLs of TWAP_ALERT_URLS. What is sent is decided in `alerts`.

Apprise is imported when the first message is sent: import and its plugins take some four seconds and 50 MB.
"""

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr

from twap_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from apprise import NotifyBase

_HTTP_STATUS = re.compile(r"\berror=([1-5]\d\d)\b")


@dataclass(frozen=True)
class Target:
    """One receiver of messages.

    Args:
        name: Its position in TWAP_ALERT_URLS and its service, such as ``1 (Slack)``; contains no part of the URL.
        service: The service of Apprise.
    """

    name: str
    service: "NotifyBase"

    def send(self, title: str, body: str) -> None:
        """Send a message as plain text.

        Raises:
            ConfigurationError: The receiver refused it or did not respond. The message contains no part of the URL.
        """
        from apprise import Apprise, NotifyFormat

        result = Apprise(self.service).notify(title=title, body=body, body_format=NotifyFormat.TEXT)
        if not result:
            lines = [str(line) for service in result for attempt in service for line in attempt]
            statuses = [match[1] for line in lines if (match := _HTTP_STATUS.search(line))]
            reason = f"HTTP status {statuses[-1]}" if statuses else "no connection, or the service refused the message"
            raise ConfigurationError(
                f"receiver {self.name} of TWAP_ALERT_URLS: {reason}; correct the URL, and run"
                " `twap-pipeline test-alert`"
            )


def open_targets(urls: SecretStr | None) -> list[Target]:
    """Return the receivers of comma-separated Apprise URLs, in their order.

    Raises:
        ConfigurationError: There is no URL, or one is not valid. The message contains no part of a URL.
    """
    from apprise import Apprise
    from apprise.utils.parse import parse_urls  # understands commas within a URL

    logging.getLogger("apprise").propagate = False  # its lines contain parts of URLs
    targets = []
    text = urls.get_secret_value() if urls else ""
    parsed: list[str] = parse_urls(text)  # type: ignore[no-untyped-call]  # Apprise declares no types for it
    for number, url in enumerate(parsed, start=1):
        service = Apprise.instantiate(url)
        if service is None:
            raise ConfigurationError(
                f"URL {number} of TWAP_ALERT_URLS is not a valid Apprise URL; a webhook is json://HOST/PATH or"
                " jsons://HOST/PATH, Slack is slack://TOKEN_A/TOKEN_B/TOKEN_C"
            )
        targets.append(Target(f"{number} ({service.service_name})", service))
    if not targets:
        raise ConfigurationError("TWAP_ALERT_URLS is not set: it names the receivers of alerts, as Apprise URLs")
    return targets
