"""The quick way to an empty schema without running the migrations: ``python -m twap_pipeline.storage.schema.create``.

Executes ``schema.sql`` and stamps Alembic's head, in one transaction; later upgrades go on from there.
"""

from importlib.resources import files

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from twap_pipeline.errors import SchemaRevisionError, TwapPipelineError
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.engine.engine import make_engine, resolve_or_start_database, translate_connection_errors
from twap_pipeline.storage.engine.url import redacted_url
from twap_pipeline.storage.schema.locks import migration_lock
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata
from twap_pipeline.storage.schema.revision_gate import migrations_config, read_revision


def create_schema(engine: Engine) -> str:
    """Create every table in an empty database and return the revision stamped.

    Raises:
        DatabaseUnavailableError: A migration held the lock past the deadline.
        SchemaRevisionError: Some of our tables are there already.
    """
    with migration_lock(engine), engine.begin() as connection:
        present = set(inspect(connection).get_table_names()) & {*metadata.tables, ALEMBIC_VERSION_TABLE}
        if present:
            names = ", ".join(sorted(present))
            raise SchemaRevisionError(f"the database already holds {names}; use `twap-pipeline migrate`")
        connection.exec_driver_sql(files("twap_pipeline.storage.schema").joinpath("schema.sql").read_text("utf-8"))
        migration = MigrationContext.configure(connection, opts={"version_table": ALEMBIC_VERSION_TABLE})
        migration.stamp(ScriptDirectory.from_config(migrations_config()), "head")
        return read_revision(connection).head


def main() -> None:
    """Initialize the configured database; an error that was meant for a person is one line and exit status 1."""
    try:
        settings = load_settings()
        url = resolve_or_start_database(settings.database_url_text, settings.home)
        engine = make_engine(url)
        try:
            with translate_connection_errors(url):
                revision = create_schema(engine)
        finally:
            engine.dispose()
    except TwapPipelineError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{redacted_url(url)}: schema created, stamped {revision}")


if __name__ == "__main__":
    main()
