"""The command ``check``: the pre-deployment check, one line per part."""

import click
import dagster as dg
from sqlalchemy import func, select

from twap_pipeline.cli.context import database
from twap_pipeline.cli.dagster_runs import describe_storage
from twap_pipeline.definitions import build_definitions
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.errors import SchemaRevisionError, TwapPipelineError
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.source.configured_store import open_configured_store
from twap_pipeline.source.selection import SkippedObjects
from twap_pipeline.storage.engine.server_requirements import require_supported_server
from twap_pipeline.storage.engine.url import redacted_url
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.revision_gate import require_head


@click.command()
def check() -> None:
    """Check database, schema, source and definitions before a deployment.

    Prints one line per part. Exit status 1 means that at least one part failed. A warning is not a failure.
    """
    settings = load_settings()
    failed = False
    fills = [("fills", _check_fills)] if settings.resolved_fills_url else []
    for name, run_check in (
        ("database", _check_database),
        ("revision", _check_revision),
        ("drift", _check_drift),
        ("source", _check_source),
        *fills,
        ("definitions", _check_definitions),
        ("dagster", describe_storage),
    ):
        try:
            click.echo(f"ok    {name:<12} {run_check(settings)}")
        except TwapPipelineError as error:
            failed = True
            click.echo(f"FAIL  {name:<12} {error}")
    if settings.database_url is not None and settings.dagster_home is None:
        click.echo(
            "warn  dagster      DAGSTER_HOME is not set: runs and sensor states are in SQLite files of this host."
            " Sensors, or several hosts, need deploy/dagster.yaml (PostgreSQL)"
        )
    raise SystemExit(1 if failed else 0)


def _check_database(settings: Settings) -> str:
    with database(settings) as (engine, url), engine.connect() as connection:
        version = require_supported_server(connection)
        schema = connection.scalar(select(func.current_schema()))
        return f"PostgreSQL {version} at {redacted_url(url)}, schema {schema}"


def _check_revision(settings: Settings) -> str:
    with database(settings) as (engine, _):
        return require_head(engine).message


def _check_drift(settings: Settings) -> str:
    with database(settings) as (engine, _), engine.connect() as connection:
        if differences := drift(connection):
            raise SchemaRevisionError(
                f"{len(differences)} differences from the declared tables; first: {differences[0]}"
            )
    return "tables match the declared tables"


def _check_source(settings: Settings, data_set: DataSet = TWAP_STATUS) -> str:
    store = open_configured_store(settings, data_set)
    skipped = SkippedObjects()
    if first := next(store.list_objects(skipped=skipped), None):
        return f"{store.url}: first key {first.key}"
    return f"{store.url}: reachable, contains no data" + (f"; skipped objects: {skipped}" if skipped else "")


def _check_fills(settings: Settings) -> str:
    return _check_source(settings, TWAP_FILLS)


def _check_definitions(settings: Settings) -> str:
    definitions = build_definitions(settings)
    dg.Definitions.validate_loadable(definitions)
    return f"{len(list(definitions.resolve_all_asset_specs()))} assets load"
