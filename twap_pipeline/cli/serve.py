"""Commands of the query side: serve it, make a key for it, make the role that it logs in as."""

import click

from twap_pipeline.cli.context import database
from twap_pipeline.settings import load_settings

GRACE_SECONDS = 10
"""How long a server that is told to end waits for answers under way."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the web server.")
@click.option("--port", default=8000, show_default=True, help="Port of the web server.")
def serve(host: str, port: int) -> None:
    """Serve the query API and its page; with nothing configured, on the local PostgreSQL, filled or not."""
    import uvicorn

    from twap_pipeline.api import create_app
    from twap_pipeline.api.logs import log_config
    from twap_pipeline.storage.schema.revision_gate import require_head
    from twap_pipeline.storage.schema.upgrade import upgrade

    settings = load_settings()
    with database(settings) as (engine, _):
        if settings.database_url is None:
            upgrade(engine)
        require_head(engine)
        engine.dispose()
        click.echo(f"the page is at http://{host}:{port}/ and the API below /api/v1 (Ctrl-C ends it)")
        uvicorn.run(
            create_app(settings),
            host=host,
            port=port,
            log_config=log_config(),
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )


@click.command("make-api-key")
def make_api_key() -> None:
    """Make a key for the API: it is printed this once, with the hash for TWAP_API_KEY_HASHES."""
    from twap_pipeline.api.keys import make_key

    key, hashed = make_key()
    click.echo(f"key   {key}\nhash  {hashed}")


@click.command("grant-reader")
@click.argument("role")
def grant_reader(role: str) -> None:
    """Let ROLE log in and read what the API tells, and nothing else; makes it if it does not exist."""
    from twap_pipeline.storage.engine.reader_role import READER_TABLES
    from twap_pipeline.storage.engine.reader_role import grant_reader as grant
    from twap_pipeline.storage.schema.revision_gate import require_head

    with database(load_settings()) as (engine, _):
        require_head(engine)
        password = grant(engine, role)
    click.echo(f"{role} may read {', '.join(READER_TABLES)}, and write nothing")
    if password is not None:
        click.echo(f"password  {password}")
