"""The command ``export-metrics``: the pipeline's metrics over HTTP, or once on standard output."""

import signal
import sys

import click
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from twap_pipeline.cli.context import PORT, database, require_free_port
from twap_pipeline.cli.pipeline_metrics import PipelineCollector
from twap_pipeline.settings import load_settings


@click.command("export-metrics")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, help="Port to listen on; without it, print the metrics once.")
def export_metrics(host: str, port: int | None) -> None:
    """Serve the metrics of the pipeline for Prometheus, or print them once.

    Reads the ingest log and the Dagster instance, and writes to neither. A role of grant-reader is sufficient.
    """
    settings = load_settings()
    if port is not None:
        require_free_port(host, port)
    with database(settings) as (engine, url):
        registry = CollectorRegistry()
        registry.register(PipelineCollector(engine, url, settings))
        if port is None:
            click.echo(generate_latest(registry), nl=False)
            return
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        server, thread = start_http_server(port, host, registry)
        click.echo(f"metrics at http://{host}:{port}/metrics (stop with Ctrl-C)")
        try:
            thread.join()
        finally:
            server.shutdown()
            server.server_close()
