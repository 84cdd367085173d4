"""Telling people of a run that failed: one JSON message to a webhook, off until TWAP_ALERT_WEBHOOK_URL is set.

Slack's incoming webhooks take the message as it is. All runs are watched, backfills from the UI among them; a sensor
limited to named jobs would miss those.
"""

import json
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.settings import load_settings

_TIMEOUT_SECONDS = 10


@dg.run_failure_sensor(
    name="failed_run_alert",
    description="Tells TWAP_ALERT_WEBHOOK_URL of every run that fails; does nothing while that is unset.",
)
def failed_run_alert(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """Send one message for one failed run."""
    url = load_settings().alert_webhook_url
    if url is None:
        return dg.SkipReason("TWAP_ALERT_WEBHOOK_URL is not set")
    send_alert(url.get_secret_value(), message(context.dagster_run, context.failure_event.message or ""))
    return None


def message(run: dg.DagsterRun, reason: str) -> str:
    """Return what a person at night needs: which run, of what, why."""
    day = run.tags.get(PARTITION_NAME_TAG)
    of_day = f" of {day}" if day else ""
    return f"Dagster run {run.run_id} ({run.job_name}{of_day}) failed: {reason}"


def send_alert(url: str, text: str) -> None:
    """POST ``{"text": …}``.

    Raises:
        ConfigurationError: The webhook cannot be used; its address, which is a secret, is not shown.
    """
    if urlsplit(url).scheme not in ("https", "http"):
        raise ConfigurationError("TWAP_ALERT_WEBHOOK_URL is no http(s) address")
    body, headers = json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    request = Request(url, body, headers)  # noqa: S310 - the scheme was just looked at
    try:
        with urlopen(request, timeout=_TIMEOUT_SECONDS):  # noqa: S310 - as above
            return
    except URLError as error:
        raise ConfigurationError(f"TWAP_ALERT_WEBHOOK_URL did not take the message: {error.reason}") from None
