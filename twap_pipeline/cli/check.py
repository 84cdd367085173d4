"""The pre-deploy gate and the upgrade: is everything that a run needs there, and at this code's revision?"""

import click

from twap_pipeline.cli.context import database, source
from twap_pipeline.errors import TwapPipelineError
from twap_pipeline.settings import Settings, load_settings


@click.command()
def migrate() -> None:
    """Bring the database to this code's Alembic head; safe to run by several deployers at once."""
    from twap_pipeline.storage.engine.url import redacted_url
    from twap_pipeline.storage.schema.upgrade import upgrade

    with database(load_settings()) as (engine, url):
        revision = upgrade(engine)
        click.echo(f"{redacted_url(url)} is {revision.message}")


@click.command()
def check() -> None:
    """Tell, a line each, whether database, revision, schema, source and definitions are fit; exit status 1 if not."""
    settings = load_settings()
    failed = False
    for name, look in (
        ("database", _check_database),
        ("revision", _check_revision),
        ("drift", _check_drift),
        ("source", _check_source),
        ("definitions", _check_definitions),
    ):
        try:
            click.echo(f"ok    {name:<12} {look(settings)}")
        except TwapPipelineError as error:
            failed = True
            click.echo(f"FAIL  {name:<12} {error}")
    raise SystemExit(1 if failed else 0)


def _check_database(settings: Settings) -> str:
    from sqlalchemy import text

    from twap_pipeline.storage.engine.url import redacted_url

    with database(settings) as (engine, url), engine.connect() as connection:
        version = connection.execute(text("SHOW server_version")).scalar_one()
        return f"PostgreSQL {version} at {redacted_url(url)}"


def _check_revision(settings: Settings) -> str:
    from twap_pipeline.storage.schema.revision_gate import require_head

    with database(settings) as (engine, _):
        return require_head(engine).message


def _check_drift(settings: Settings) -> str:
    from twap_pipeline.errors import SchemaRevisionError
    from twap_pipeline.storage.schema.drift import drift

    with database(settings) as (engine, _), engine.connect() as connection:
        if found := drift(connection):
            raise SchemaRevisionError(f"{len(found)} differences from the declared tables; first: {found[0]}")
    return "tables are as declared"


def _check_source(settings: Settings) -> str:
    store = source(settings)
    first = next(iter(store.list_objects()), None)
    return f"{store.url}: first key {first.key}" if first else f"{store.url}: reachable, lists no objects"


def _check_definitions(settings: Settings) -> str:
    import dagster as dg

    from twap_pipeline.definitions import build_definitions

    definitions = build_definitions(settings)
    dg.Definitions.validate_loadable(definitions)
    return f"{len(list(definitions.resolve_all_asset_specs()))} assets load"
