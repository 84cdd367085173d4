"""Code of an earlier revision on a newer database: it reads if the revision declares so, and never writes."""

import json
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import URL, Engine

from twap_pipeline.api import create_app
from twap_pipeline.cli import load_command
from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.storage.schema.create import create_schema
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE
from twap_pipeline.storage.schema.revision_gate import migrations_config, require_head, require_readable
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.api.serving import Tables, ended_order, make_settings, serving
from twap_pipeline_tests.factories import WALLET, Bucket, event
from twap_pipeline_tests.storage.catalog import connected, downgrade_to, execute, in_clear, recorded, upgrade_to
from twap_pipeline_tests.storage.migrate_process import HEAD, REVISIONS, alembic, copy_migrations

SCRIPTS = ScriptDirectory.from_config(migrations_config())
DECLARED = {script.revision: script.module.oldest_reader for script in SCRIPTS.walk_revisions()}
NEWER = """from alembic import op

revision = "900"
down_revision = "{head}"
oldest_reader = "{oldest_reader}"


def upgrade() -> None:
    op.execute("ALTER TABLE twap_status ADD stop_price NUMERIC")
"""


def recorded_reader(url: URL) -> object:
    with psycopg.connect(in_clear(url)) as connection:
        query = "SELECT obj_description(to_regclass(%s), 'pg_class')"
        (comment,) = connection.execute(query, [ALEMBIC_VERSION_TABLE]).fetchone() or ()
        return comment


def migrate_to_newer(url: URL, directory: Path, oldest_reader: str) -> None:
    """Upgrade a database to a revision that this code does not contain."""
    code = copy_migrations(directory)
    text = NEWER.format(head=HEAD, oldest_reader=oldest_reader)
    (code / "alembic" / "versions" / "900_stop_price.py").write_text(text, "utf-8")
    alembic(url, "upgrade", "head", cwd=code)


@pytest.mark.unit
@pytest.mark.parametrize("revision", REVISIONS)
def test_revision_declares_itself_or_an_earlier_reader(revision: str) -> None:
    assert DECLARED[revision] in REVISIONS[: REVISIONS.index(revision) + 1]


def test_oldest_reader_is_recorded_with_each_revision(empty_database: URL) -> None:
    for revision in REVISIONS:
        upgrade_to(empty_database, revision)
        assert (recorded(empty_database), recorded_reader(empty_database)) == ([revision], DECLARED[revision])
    downgrade_to(empty_database, "001")
    assert recorded_reader(empty_database) == DECLARED["001"]
    downgrade_to(empty_database, "base")
    assert recorded_reader(empty_database) is None


def test_oldest_reader_is_recorded_by_create_stamp_and_sql(empty_database: URL) -> None:
    with connected(empty_database) as engine:
        create_schema(engine)
    assert recorded_reader(empty_database) == DECLARED[HEAD]

    alembic(empty_database, "stamp", "002")
    assert recorded_reader(empty_database) == DECLARED["002"]

    assert f"""COMMENT ON TABLE "{ALEMBIC_VERSION_TABLE}" IS '{DECLARED[HEAD]}'""" in alembic(
        None, "upgrade", "head", "--sql"
    )


def test_older_code_reads_a_newer_compatible_database(
    database: URL, engine: Engine, bucket: Bucket, tmp_path: Path
) -> None:
    """The API that runs during the upgrade stays ready; the commands `export` and `serve` accept the database."""
    Tables(engine, bucket).load("a.parquet", ended_order(1))
    with serving(create_app(make_settings(database))) as client:
        assert client.get("/readyz").json()["revision"] == HEAD
        migrate_to_newer(database, tmp_path / "newer", HEAD)
        ready, order = client.get("/readyz"), client.get("/api/v1/twaps/1")
    exported = CliRunner().invoke(load_command("export"), ["--wallet", WALLET])

    assert (ready.status_code, ready.json()["revision"]) == (200, "900")
    assert (order.status_code, json.loads(order.text)["twap_id"]) == (200, "1")
    assert (exported.exit_code, len(exported.stdout.splitlines())) == (0, 2)
    assert require_readable(engine).current == ("900",)


def test_older_code_does_not_load_into_a_newer_database(
    database: URL, engine: Engine, bucket: Bucket, tmp_path: Path
) -> None:
    migrate_to_newer(database, tmp_path / "newer", HEAD)
    bucket.put("a.parquet", [event(1)])
    message = (
        f"the database is at 900, which is newer than this code (head {HEAD}): this code may read it, but not load or"
        " change data; deploy the code with 900"
    )

    for refuses in (require_head, upgrade):
        with pytest.raises(SchemaRevisionError) as refused:
            refuses(engine)
        assert str(refused.value) == message
    outcome = CliRunner().invoke(load_command("ingest"), ["--source", bucket.directory.as_uri() + "/"])

    assert str(outcome.exception) == message


def test_incompatible_or_older_database_is_not_readable(database: URL, engine: Engine, tmp_path: Path) -> None:
    migrate_to_newer(database, tmp_path / "newer", "900")

    with serving(create_app(make_settings(database))) as client:
        refused = client.get("/readyz")
    with pytest.raises(SchemaRevisionError, match="which this code"):
        require_readable(engine)
    execute(database, f"UPDATE {ALEMBIC_VERSION_TABLE} SET version_num = '{REVISIONS[-2]}'")
    with pytest.raises(SchemaRevisionError, match="run `twap-pipeline migrate`"):
        require_readable(engine)

    assert (refused.status_code, refused.json()["title"]) == (503, "Schema not ready")
    assert "deploy the code with 900" in refused.json()["detail"]
