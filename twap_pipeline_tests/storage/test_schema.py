"""The schema in PostgreSQL's catalogs: the same from the migrations, from schema.sql and from the declared tables.

`describe` is what the other tests of migrations compare databases with.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine

from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.schema.create import create_schema
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata
from twap_pipeline.storage.schema.revision_gate import migrations_config
from twap_pipeline_tests.conftest import create_database

DESIGN = """
CREATE TABLE twap_status (twap_id TEXT NOT NULL, wallet TEXT NOT NULL, ts TIMESTAMPTZ NOT NULL, asset TEXT, side TEXT, size_requested NUMERIC,
  size_executed NUMERIC, notional_executed NUMERIC, status TEXT, duration_minutes INTEGER, s3_object_key TEXT NOT NULL, raw_payload JSON,
  inserted_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (twap_id, wallet, ts));
CREATE INDEX twap_status_wallet_ts_idx ON twap_status (wallet, ts);
CREATE INDEX twap_status_twap_id_idx ON twap_status (twap_id);
CREATE INDEX twap_status_asset_idx ON twap_status (asset);
CREATE TABLE etl_s3_ingest_log (s3_object_key TEXT PRIMARY KEY, last_modified TIMESTAMPTZ NOT NULL, rows_ingested INTEGER, error_text TEXT,
  ingested_at TIMESTAMPTZ NOT NULL);
"""  # noqa: E501 (to the letter)

_CATALOG = """
WITH relation AS (SELECT * FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('i', 'I'))
SELECT format('%s: relation of kind %s %s', relname, relkind, reloptions) FROM relation
UNION ALL
SELECT format('%s: column %s %s %s%s%s %s%s', relname,
              lpad(row_number() OVER (PARTITION BY relation.oid ORDER BY attnum)::text, 2, '0'), attname,
              format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN ' NOT NULL' END,
              ' DEFAULT ' || pg_get_expr(adbin, adrelid), attidentity, attgenerated)
  FROM relation JOIN pg_attribute ON attrelid = relation.oid
  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT format('%s: constraint %s %s', relname, conname, pg_get_constraintdef(pg_constraint.oid))
  FROM relation JOIN pg_constraint ON conrelid = relation.oid
UNION ALL
SELECT format('%s: index valid %s %s', relname, indisvalid, pg_get_indexdef(indexrelid))
  FROM relation JOIN pg_index ON indrelid = relation.oid
UNION ALL
SELECT format('%s: trigger %s', relname, pg_get_triggerdef(pg_trigger.oid))
  FROM relation JOIN pg_trigger ON tgrelid = relation.oid WHERE NOT tgisinternal
UNION ALL
SELECT format('%s: view %s', relname, pg_get_viewdef(oid)) FROM relation WHERE relkind IN ('v', 'm')
UNION ALL
SELECT format('function %s', pg_get_functiondef(oid)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1
"""


def execute(url: URL, statements: str) -> None:
    """Run statements on a connection of their own."""
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(statements.encode())


def describe(url: URL) -> list[str]:
    """Return everything that is in a database's public schema, a line each, as a new connection sees it."""
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        return [line for (line,) in connection.execute(_CATALOG)]


def described_tables(url: URL) -> list[str]:
    """Return `describe` without Alembic's own table."""
    return [line for line in describe(url) if not line.startswith(ALEMBIC_VERSION_TABLE)]


@contextmanager
def connected(url: URL) -> Iterator[Engine]:
    """Yield an engine that leaves nothing open, whatever happens."""
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def upgrade_to(url: URL, revision: str) -> None:
    """Bring a database up to a revision, in this process."""
    _run_alembic(url, command.upgrade, revision)


def downgrade_to(url: URL, revision: str) -> None:
    """Bring a database down to a revision, in this process."""
    _run_alembic(url, command.downgrade, revision)


def _run_alembic(url: URL, run: Callable[[Config, str], None], revision: str) -> None:
    config = migrations_config()
    with connected(url) as engine, engine.connect() as connection:
        config.attributes["connection"] = connection
        run(config, revision)


def test_001_gives_the_ddl_of_the_design_to_the_letter(server_url: str, empty_database: URL) -> None:
    design = create_database(server_url)
    execute(design, DESIGN)

    upgrade_to(empty_database, "001")

    assert described_tables(empty_database) == describe(design)


def test_schema_sql_gives_what_the_migrations_give_with_the_same_revision(database: URL, empty_database: URL) -> None:
    with connected(empty_database) as engine:
        create_schema(engine)

    assert describe(empty_database) == describe(database)


@pytest.mark.fault("M5")
def test_the_declared_tables_are_what_the_migrations_give(database: URL, empty_database: URL) -> None:
    with connected(empty_database) as engine:
        metadata.create_all(engine)

    assert described_tables(empty_database) == described_tables(database)


@pytest.mark.fault("M5")
def test_the_comparison_tells_databases_apart(database: URL, empty_database: URL) -> None:
    upgrade_to(empty_database, "001")

    differences = set(describe(database)) ^ set(describe(empty_database))

    assert any("twap_status_quarantine: column 02 row_number bigint NOT NULL" in line for line in differences)
    assert any("CHECK ((rows_read = " in line for line in differences)
    assert any("etl_s3_ingest_log_object_date_idx" in line for line in differences)


@pytest.mark.fault("M4")
@pytest.mark.parametrize("revision", ["001", "base"])
def test_down_and_up_again_gives_the_same_schema(database: URL, revision: str) -> None:
    before = describe(database)

    downgrade_to(database, revision)
    assert describe(database) != before
    upgrade_to(database, "head")

    assert describe(database) == before


def test_downgrade_001_gives_001_and_base_gives_nothing(database: URL, empty_database: URL) -> None:
    upgrade_to(empty_database, "001")

    downgrade_to(database, "001")
    assert describe(database) == describe(empty_database)

    downgrade_to(database, "base")
    assert described_tables(database) == []


@pytest.mark.fault("M5")
@pytest.mark.unit
def test_the_migrations_have_one_head_and_schema_sql_names_it() -> None:
    (head,) = ScriptDirectory.from_config(migrations_config()).get_heads()

    text = files("twap_pipeline.storage.schema").joinpath("schema.sql").read_text("utf-8")

    assert f"at revision {head}," in text.splitlines()[0]


@pytest.mark.fault("M5")
def test_head_has_no_drift(engine: Engine) -> None:
    with engine.connect() as connection:
        assert drift(connection) == []


@pytest.mark.fault("M5")
@pytest.mark.parametrize(
    ("alteration", "named"),
    [
        ("ALTER TABLE twap_status ADD COLUMN extra TEXT", "extra"),
        ("ALTER TABLE twap_status DROP COLUMN status_error", "status_error"),
        ("ALTER TABLE twap_status ALTER duration_minutes TYPE BIGINT", "duration_minutes"),
        ("ALTER TABLE twap_status ALTER size_executed TYPE NUMERIC(20, 4)", "size_executed"),
        ("ALTER TABLE twap_status ALTER size_executed TYPE DOUBLE PRECISION", "size_executed"),
        ("ALTER TABLE twap_status ALTER ts TYPE TIMESTAMP", " ts "),
        ("ALTER TABLE twap_status ALTER s3_object_key DROP NOT NULL", "s3_object_key"),
        ("ALTER TABLE twap_status ALTER inserted_at DROP DEFAULT", "inserted_at"),
        ("ALTER TABLE etl_s3_ingest_log ALTER failed_attempts SET DEFAULT 1", "failed_attempts"),
        ("DROP INDEX twap_status_asset_idx", "twap_status_asset_idx"),
        ("CREATE INDEX extra_idx ON twap_status (side)", "extra_idx"),
        ("ALTER TABLE twap_status DROP CONSTRAINT twap_status_pkey", "primary key of twap_status"),
        (
            "ALTER TABLE etl_s3_ingest_log DROP CONSTRAINT etl_s3_ingest_log_rows_accounted_check",
            "lacks the check etl_s3_ingest_log_rows_accounted_check",
        ),
        ("ALTER TABLE twap_status ADD CHECK (size_executed > 0)", "twap_status_size_executed_check"),
        ("DROP TABLE twap_status_quarantine", "twap_status_quarantine"),
        ("DROP VIEW twap_daily_stats", "the view twap_daily_stats is missing"),
        (
            "CREATE OR REPLACE VIEW twap_daily_stats AS SELECT start_date AS day, asset, side, status,"
            " count(*) AS order_count, count(wallet) AS wallets, count(*) AS is_underfilled, sum(size_requested) AS"
            " size_requested, sum(size_executed) AS size_executed, sum(notional_executed) AS notional_executed"
            " FROM twap_orders GROUP BY start_date, asset, side, status",
            "the view twap_daily_stats is not as declared",
        ),
    ],
)
def test_drift_names_what_somebody_altered(engine: Engine, alteration: str, named: str) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(alteration)

        (difference,) = drift(connection)

    assert named in difference
