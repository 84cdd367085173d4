"""Alerts for failed runs: the run failure sensor and the webhook that it calls.

The sensor monitors every job, including backfills that are started in the UI. The message format is that of Slack's
incoming webhooks.
"""

import json
import re
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import URLError
from urllib.request import Request, urlopen

import dagster as dg
from pydantic import SecretStr

from twap_pipeline.defs.event_log import PARTITION_NAME_TAG
from twap_pipeline.errors import ConfigurationError

_TIMEOUT_SECONDS = 10
_WEBHOOK_URL = re.compile(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?][!-~]*)?", re.ASCII)


@dataclass(frozen=True)
class AlertWebhook:
    """A webhook that accepts ``{"text": ...}``.

    Args:
        url: Its http(s) URL, which is a secret; None disables alerts.
    """

    url: SecretStr | None

    def send(self, text: str) -> None:
        """POST the text as JSON.

        Raises:
            ConfigurationError: There is no URL, it is not valid, or the request failed. The message omits the URL.
        """
        url = self.url.get_secret_value() if self.url else ""
        if not _WEBHOOK_URL.fullmatch(url):
            raise ConfigurationError(
                "TWAP_ALERT_WEBHOOK_URL is not a valid http(s) URL: it must have a host, and no white space and no user"
                " name or password"
            )
        body, headers = json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
        request = Request(url, body, headers)  # noqa: S310 - the scheme is checked above
        try:
            with urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310 - the scheme is checked above
                return
        except (OSError, HTTPException, ValueError, OverflowError) as error:  # only these reasons never contain the URL
            reason = error.reason if isinstance(error, URLError) else type(error).__name__
            raise ConfigurationError(f"the request to TWAP_ALERT_WEBHOOK_URL failed: {reason}") from None


@dg.run_failure_sensor(
    name="failed_run_alert",
    description="Sends the failure text of every failed run to TWAP_ALERT_WEBHOOK_URL; skips if the setting is unset.",
)
def failed_run_alert(
    context: dg.RunFailureSensorContext, alert_webhook: dg.ResourceParam[AlertWebhook]
) -> dg.SkipReason | None:
    """Send one alert per failed run, with the text of each step's failure."""
    if alert_webhook.url is None:
        return dg.SkipReason("TWAP_ALERT_WEBHOOK_URL is not set")
    run = context.dagster_run
    partition = run.tags.get(PARTITION_NAME_TAG)
    job = f"{run.job_name}, partition {partition}" if partition else run.job_name
    alert_webhook.send(f"Dagster run {run.run_id} ({job}) failed: {_failure_text(context)}")
    return None


def _failure_text(context: dg.RunFailureSensorContext) -> str:
    """Return the texts of the steps' failures. The text of another error may contain secrets, so it is left out."""
    failures = [event.step_failure_data.user_failure_data for event in context.get_step_failure_events()]
    texts = [failure.description for failure in failures if failure is not None and failure.description]
    return "\n".join(texts) or context.failure_event.message or "no message"
