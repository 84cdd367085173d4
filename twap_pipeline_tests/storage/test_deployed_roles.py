"""The roles of ``deploy/roles.sql``: each does its work with its privileges, and is refused the work of the others."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import URL

from twap_pipeline.api import create_app
from twap_pipeline.cli import load_command
from twap_pipeline.embedded.binaries import find_installation
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.paths import ROOT
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline_tests.api.serving import Tables, ended_order, make_settings, serving
from twap_pipeline_tests.factories import DAY, WALLET, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.storage.catalog import connected, execute, in_clear

PREFIX = "deployed"


@dataclass(frozen=True)
class Deployment:
    """The URLs of the roles."""

    owner: URL
    loader: URL
    reader: URL
    dagster: URL

    def run(self, role: URL, *arguments: str) -> tuple[int, str]:
        """Run a command as a role; return exit status, and output or error."""
        runner = CliRunner(env={"DATABASE_URL": in_clear(role)})
        outcome = runner.invoke(load_command(arguments[0]), arguments[1:])
        return outcome.exit_code, str(outcome.exception) if outcome.exit_code else outcome.output


def run_roles_sql(server_url: str) -> None:
    names = {name: f"{PREFIX}_{name}" for name in ("owner", "loader", "reader", "dagster", "database")}
    names |= {f"{name}_password": "p" for name in ("owner", "loader", "reader", "dagster")}
    names["dagster_database"] = f"{PREFIX}_dagster"
    variables = [f"--set={name}={value}" for name, value in names.items()]
    psql = find_installation() / "bin" / "psql"
    done = subprocess.run(
        [psql, "--no-psqlrc", "--quiet", *variables, f"--file={ROOT / 'deploy' / 'roles.sql'}", server_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def deployment(server_url: str) -> Iterator[Deployment]:
    """A database at head, with the three roles; the script and the grants have run twice."""
    url = parse_database_url(server_url).set(database=f"{PREFIX}_database", password="p")
    owner, loader, reader = (url.set(username=f"{PREFIX}_{name}") for name in ("owner", "loader", "reader"))
    dagster = url.set(username=f"{PREFIX}_dagster", database=f"{PREFIX}_dagster")
    deployed = Deployment(owner, loader, reader, dagster)
    for _ in range(2):
        run_roles_sql(server_url)
        for command in (["migrate"], ["grant-loader", str(loader.username)], ["grant-reader", str(reader.username)]):
            status, output = deployed.run(owner, *command)
            assert status == 0, output
            assert "can still" not in output
    yield deployed
    with psycopg.connect(server_url, autocommit=True) as connection:
        for database in (url.database, dagster.database):
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())


def test_loader_ingests_refreshes_audits_and_checks(deployment: Deployment, bucket: Bucket) -> None:
    store = LocalDirectory(bucket.directory)
    with connected(deployment.loader) as engine:
        for hours in range(2):
            executed = str(10 + hours)
            rows = [*ended_order(1), event(2, executed=executed), event(3, wallet="?")]
            bucket.put("hourly/2025/08/20/12/a.parquet", rows, hours=hours)
            assert [result.error for result in ingest_everything(store, engine)] == [None]
        with engine.begin() as connection:
            refresh_orders(connection, DAY)
            assert drift(connection) == []
        assert {check.name for check, _ in run_checks(engine, CHECKS)} == {check.name for check in CHECKS}
        assert run_audit(store, engine, since=DAY, requeue=True).repair is not None


def test_reader_serves_and_exports_what_the_loader_wrote(deployment: Deployment, bucket: Bucket) -> None:
    with connected(deployment.loader) as engine:
        Tables(engine, bucket).load("hourly/2025/08/20/13/b.parquet", ended_order(9))
    with serving(create_app(make_settings(deployment.reader))) as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/api/v1/twaps/9").status_code == 200
    status, output = deployment.run(deployment.reader, "export", "--wallet", WALLET)

    assert status == 0
    assert "9" in [line.partition(",")[0] for line in output.splitlines()]


def statement_is_refused(url: URL, statement: str) -> bool:
    with psycopg.connect(in_clear(url)) as connection:
        try:
            connection.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


DDL = (
    "CREATE TABLE other (n int)",
    "ALTER TABLE twap_status ADD other int",
    "DROP TABLE twap_orders",
    "TRUNCATE twap_status",
    "UPDATE twap_alembic_version SET version_num = '001'",
    "CREATE ROLE other",
)
WRITES = (
    "INSERT INTO twap_orders (twap_id) VALUES ('1')",
    "UPDATE etl_s3_ingest_log SET etag = ''",
    "DELETE FROM twap_status",
    "CREATE TEMP TABLE other (n int)",
    "SELECT raw_row FROM twap_status_quarantine",
    "SELECT lo_create(0)",
)


def test_each_role_is_refused_the_work_of_others(deployment: Deployment) -> None:
    for statement in DDL:
        assert statement_is_refused(deployment.loader, statement), statement
    for statement in (*DDL, *WRITES):
        assert statement_is_refused(deployment.reader, statement), statement
    for role, database in ((deployment.dagster, deployment.owner), (deployment.loader, deployment.dagster)):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(in_clear(role.set(database=database.database)))


def test_later_table_is_writable_for_the_loader_only(deployment: Deployment) -> None:
    execute(deployment.owner, "CREATE TABLE later (n int)")

    assert not statement_is_refused(deployment.loader, "INSERT INTO later VALUES (1)")
    assert statement_is_refused(deployment.reader, "SELECT * FROM later")
    execute(deployment.owner, "DROP TABLE later")


def test_grant_reader_of_a_loader_revokes_its_writes(deployment: Deployment) -> None:
    loader = str(deployment.loader.username)
    deployment.run(deployment.owner, "grant-reader", loader)
    execute(deployment.owner, "CREATE TABLE later (n int)")

    assert all(statement_is_refused(deployment.loader, statement) for statement in WRITES[:3])
    assert statement_is_refused(deployment.loader, "SELECT * FROM later")
    execute(deployment.owner, "DROP TABLE later")
    deployment.run(deployment.owner, "grant-loader", loader)


@pytest.mark.parametrize(
    "command", [["partition-by-month"], ["archive-month", "2025-01", "--to", "."], ["restore-month", "x"]]
)
def test_loader_is_refused_commands_of_the_owner(deployment: Deployment, command: list[str], bucket: Bucket) -> None:
    source = ["--source", bucket.directory.as_uri() + "/"] if command[0] == "archive-month" else []
    status, error = deployment.run(deployment.loader, *command, *source)

    assert (status, error) == (
        1,
        f"{command[0]} changes the schema and needs the owner of twap_status, {PREFIX}_owner; DATABASE_URL connects as"
        f" {PREFIX}_loader: run it with the owner's URL; see docs/reference/database-roles.md",
    )


def test_grant_by_a_loader_is_refused(deployment: Deployment) -> None:
    status, error = deployment.run(deployment.loader, "grant-loader", "other")

    assert (status, len(error.splitlines())) == (1, 1)
    assert "permission denied to create role" in error
