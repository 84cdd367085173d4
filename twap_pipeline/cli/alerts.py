"""The command ``test-alert``: sends one message to each receiver of alerts."""

import click

from twap_pipeline.defs.notifier import open_targets
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.settings import load_settings

_BODY = (
    "This is a test message of `twap-pipeline test-alert`. The sensor `alerts` sends problems to this receiver;"
    " docs/how-to/runbook.md describes them."
)


@click.command("test-alert")
def test_alert() -> None:
    """Send a test message to each receiver of TWAP_ALERT_URLS.

    Exit status 1 means that at least one receiver did not accept it.
    """
    failed = False
    for target in open_targets(load_settings().alert_urls):
        try:
            target.send("twap_pipeline: test message", _BODY)
            click.echo(f"ok    {target.name}")
        except ConfigurationError as error:
            failed = True
            click.echo(f"FAIL  {error}")
    raise SystemExit(1 if failed else 0)
