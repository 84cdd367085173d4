"""Creates the schema in an empty database without migrations: ``python -m twap_pipeline.storage.schema.create``.

Creates the declared tables and views, and stamps Alembic's head, in one transaction. Later upgrades start there.
"""

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from twap_pipeline.errors import SchemaRevisionError, TwapPipelineError
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.engine.engine import open_database
from twap_pipeline.storage.engine.server_requirements import require_supported_server
from twap_pipeline.storage.engine.url import redacted_url
from twap_pipeline.storage.schema.migration_lock import migration_lock
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata
from twap_pipeline.storage.schema.oldest_reader import record_oldest_reader
from twap_pipeline.storage.schema.revision_gate import migrations_config, read_revision
from twap_pipeline.storage.symbols.spot_pairs import INSERT_SNAPSHOT


def create_schema(engine: Engine) -> str:
    """Create every table in an empty database and return the stamped revision.

    Raises:
        ConfigurationError: The server is too old, or the database's encoding is not UTF8.
        DatabaseUnavailableError: Another session did not release the migration lock before the deadline.
        SchemaRevisionError: The database contains some of the tables.
    """
    with migration_lock(engine), engine.begin() as connection:
        require_supported_server(connection)
        present = set(inspect(connection).get_table_names()) & {*metadata.tables, ALEMBIC_VERSION_TABLE}
        if present:
            names = ", ".join(sorted(present))
            raise SchemaRevisionError(f"the database already contains {names}; use `twap-pipeline migrate`")
        metadata.create_all(connection)
        connection.exec_driver_sql(INSERT_SNAPSHOT)
        migration = MigrationContext.configure(connection, opts={"version_table": ALEMBIC_VERSION_TABLE})
        scripts = ScriptDirectory.from_config(migrations_config())
        migration.stamp(scripts, "head")
        record_oldest_reader(migration, scripts, scripts.get_heads())
        return read_revision(connection).head


def main() -> None:
    """Create the schema in the configured database; an expected error becomes one line and exit status 1."""
    try:
        settings = load_settings()
        with open_database(settings.database_url_text, settings.home) as (engine, url):
            revision = create_schema(engine)
    except TwapPipelineError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{redacted_url(url)}: schema created, stamped {revision}")


if __name__ == "__main__":
    main()
