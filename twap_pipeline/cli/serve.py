"""Commands of the query API: ``serve`` and ``make-api-key``."""

import click
import uvicorn

from twap_pipeline.api import create_app
from twap_pipeline.api.http_protocol import RequestTimeoutProtocol
from twap_pipeline.api.keys import make_key
from twap_pipeline.cli.context import PORT, database, require_free_port
from twap_pipeline.logs import log_config
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.schema.revision_gate import require_readable
from twap_pipeline.storage.schema.upgrade import upgrade

SHUTDOWN_TIMEOUT_SECONDS = 10
"""Maximum wait for running requests when the server shuts down."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8000, show_default=True, help="Port to listen on.")
@click.option("--root-path", default="", help="Path prefix that the reverse proxy removes, such as /twap.")
def serve(host: str, port: int, root_path: str) -> None:
    """Serve the query API and the web UI. Without DATABASE_URL: on the embedded PostgreSQL."""
    require_free_port(host, port)
    settings = load_settings()
    with database(settings) as (engine, _):
        if settings.database_url is None:
            upgrade(engine)
        require_readable(engine)
        engine.dispose()
        click.echo(
            f"web UI at http://{host}:{port}/, API documentation at http://{host}:{port}/docs (stop with Ctrl-C)"
        )
        uvicorn.run(
            create_app(),
            host=host,
            port=port,
            root_path=root_path,
            http=RequestTimeoutProtocol,
            log_config=log_config(settings.log_level or "INFO", settings.log_format or "json"),
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
        )


@click.command("make-api-key")
def make_api_key() -> None:
    """Create an API key. Prints the key, and its hash for TWAP_API_KEY_HASHES; neither is stored."""
    key, key_hash = make_key()
    click.echo(f"key   {key}\nhash  {key_hash}")
