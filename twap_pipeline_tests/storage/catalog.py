"""Databases as the tests of migrations see them: their catalog, their revision, and upgrades in this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Engine

from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE
from twap_pipeline.storage.schema.revision_gate import migrations_config

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


def in_clear(url: URL) -> str:
    """Return a URL with its password."""
    return url.render_as_string(hide_password=False)


def execute(url: URL, statements: str) -> None:
    """Execute and commit statements on a new connection."""
    with psycopg.connect(in_clear(url), autocommit=True) as connection:
        connection.execute(statements.encode())


def describe(url: URL) -> list[str]:
    """Return the content of the public schema, one line per column, constraint, index, view and function."""
    with psycopg.connect(in_clear(url)) as connection:
        return [line for (line,) in connection.execute(_CATALOG)]


def described_tables(url: URL) -> list[str]:
    """Return `describe` without Alembic's own table."""
    return [line for line in describe(url) if not line.startswith(ALEMBIC_VERSION_TABLE)]


@contextmanager
def connected(url: URL) -> Iterator[Engine]:
    """Yield an engine and dispose of it."""
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def upgrade_to(url: URL, revision: str) -> None:
    """Upgrade a database to a revision in this process."""
    _run_alembic(url, command.upgrade, revision)


def downgrade_to(url: URL, revision: str) -> None:
    """Downgrade a database to a revision in this process."""
    _run_alembic(url, command.downgrade, revision)


def _run_alembic(url: URL, run: Callable[[Config, str], None], revision: str) -> None:
    config = migrations_config()
    with connected(url) as engine, engine.connect() as connection:
        config.attributes["connection"] = connection
        run(config, revision)


def recorded(url: URL) -> list[str]:
    """Return the recorded revisions; empty without Alembic's table."""
    with psycopg.connect(in_clear(url)) as connection:
        if connection.execute("SELECT to_regclass(%s)", [ALEMBIC_VERSION_TABLE]).fetchone() == (None,):
            return []
        return [revision for (revision,) in connection.execute(f"SELECT version_num FROM {ALEMBIC_VERSION_TABLE}")]
