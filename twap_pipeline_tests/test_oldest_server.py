"""Every statement on the oldest PostgreSQL of this machine: the embedded server is a newer one."""

import os
import pwd
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, text

from twap_pipeline.api import create_app
from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.embedded.binaries import OsUser, run_program
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.audit.data_check_runs import run_checks
from twap_pipeline.storage.audit.data_checks import CHECKS
from twap_pipeline.storage.engine.roles import READER, grant_role
from twap_pipeline.storage.engine.server_requirements import MINIMUM_SERVER_VERSION
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline.storage.reports.daily_orders import daily_figures
from twap_pipeline.storage.reports.ingest_summary import day_reports, failed_objects
from twap_pipeline.storage.reports.order_history import largest_ended_order, order_history
from twap_pipeline.storage.schema.create import create_schema
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.api.serving import Tables, make_settings, serving
from twap_pipeline_tests.databases import create_database, reachable_directory
from twap_pipeline_tests.factories import DAY, WALLET, Bucket, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.storage.catalog import connected, downgrade_to

INSTALLATIONS = sorted(
    (
        path.parent.parent
        for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")
        if MINIMUM_SERVER_VERSION <= int(path.parent.parent.name) < 18
    ),
    key=lambda path: int(path.name),
)

pytestmark = [
    pytest.mark.fault("A8"),
    pytest.mark.skipif(not INSTALLATIONS, reason="no PostgreSQL older than the embedded one in /usr/lib/postgresql"),
]

VALUES = {"wallet": WALLET, "twap_id": "1", "format": "koinly"}
QUERIES = {
    "/api/v1/twaps": (
        f"wallet={WALLET}&start=2025-01-01&end=2026-01-01",
        f"wallet={WALLET}&start=2025-01-01&end=2026-01-01&latest_per_twap=false&asset=HYPE",
    ),
    "/api/v2/orders": (
        "",
        "asset=HYPE&market=perp&limit=1",
        f"wallet={WALLET}&status=finished&start=2025-08-20&end=2025-08-21",
        "sort=ended",
        "sort=notional&start=2025-08-20&end=2025-08-21",
    ),
    "/api/v2/events": ("", f"wallet={WALLET}&status=finished"),
    "/api/v2/leaderboard": ("start=2025-08-20&end=2025-08-21",),
    "/api/v2/pressure/history": ("asset=HYPE&start=2025-08-20&end=2025-08-21",),
    "/api/v2/stats/daily": ("start=2025-08-20", "start=2025-08-20&asset=HYPE&limit=1"),
    "/api/v2/reconciliation/orders": ("state=reconciled&start=2025-08-20&end=2025-08-21",),
    "/api/v2/reconciliation": ("start=2025-08-20&end=2025-08-21",),
    "/api/v2/coverage": ("", "start=2025-08-20&end=2025-08-21"),
}


@pytest.fixture(scope="module")
def oldest_server() -> Iterator[str]:
    """URL of a server of the oldest installed version, without fsync, on a free port."""
    programs = INSTALLATIONS[0] / "bin"
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    os_user = OsUser(user.pw_uid, user.pw_gid) if user else None
    with reachable_directory() as directory, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        data = directory / "cluster"
        data.mkdir()
        if user:
            os.chown(data, user.pw_uid, user.pw_gid)
        run([programs / "initdb", "-U", "boss", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"], os_user, data)
        listener.close()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        run([programs / "pg_ctl", "start", "-s", "-w", "-l", data / "log", "-o", options], os_user, data)
        try:
            yield f"postgresql://boss@127.0.0.1:{port}/postgres"
        finally:
            run([programs / "pg_ctl", "stop", "-s", "-w", "-m", "immediate"], os_user, data)


def run(command: list[str | Path], os_user: OsUser | None, data: Path) -> None:
    done = run_program([os.fspath(part) for part in command], os_user, data=data, output=subprocess.DEVNULL)
    assert done.returncode == 0, command


@pytest.fixture(scope="module")
def oldest(oldest_server: str) -> Iterator[Engine]:
    """A database at head."""
    with connected(create_database(oldest_server)) as engine:
        upgrade(engine)
        yield engine


def url_of(engine: Engine) -> URL:
    return parse_database_url(engine.url.render_as_string(hide_password=False))


def test_schema_on_oldest_server_has_no_drift(oldest: Engine, oldest_server: str) -> None:
    created = create_database(oldest_server)
    with connected(created) as engine:
        create_schema(engine)
        with engine.connect() as connection, oldest.connect() as other:
            major = INSTALLATIONS[0].name
            assert str(connection.scalar(text("SHOW server_version"))).split(".")[0] == major
            assert drift(connection) == drift(other) == []
    downgrade_to(created, "base")


@pytest.fixture(scope="module")
def store(oldest: Engine, tmp_path_factory: pytest.TempPathFactory) -> LocalDirectory:
    """A store of new, replaced, late, rejected and unreadable objects, which are loaded into `oldest`."""
    directory = tmp_path_factory.mktemp("bucket")
    tables = Tables(oldest, Bucket(directory))
    orders = [event(1), event(1, status="finished", minute=30, executed="7"), event(2)]
    tables.load("hourly/2025/08/20/12/a.parquet", [*orders, event(5, wallet="?")])
    tables.load("hourly/2025/08/20/13/b.parquet", [event(2, status="error", minute=9), event(3)], hours=1)
    tables.load("hourly/2025/08/20/12/a.parquet", orders[:2], hours=2)
    (directory / "hourly/2025/08/20/14").mkdir(parents=True)
    (directory / "hourly/2025/08/20/14/c.parquet").write_bytes(b"not parquet")
    store = LocalDirectory(directory)
    ingest_everything(store, oldest)
    return store


def test_pipeline_on_oldest_server_runs_every_statement(oldest: Engine, store: LocalDirectory) -> None:
    assert len(list(run_checks(oldest, CHECKS, is_full=True))) == len(CHECKS)
    with oldest.begin() as connection:
        day_reports(connection, data_set=TWAP_STATUS)
        failed_objects(connection, ["run"], data_set=TWAP_STATUS)
        daily_figures(connection, [DAY])
        assert largest_ended_order(connection) == "1"
        assert len(order_history(connection, "1")) == 2
        dates_pending_refresh(connection)
        connection.execute(text("UPDATE twap_status SET size_executed = 8 WHERE twap_id = '1' AND status = 'finished'"))
    assert run_audit(store, oldest, since=DAY, requeue=True).has_errors
    ingest_everything(store, oldest)
    with oldest.begin() as connection:
        refresh_orders(connection, DAY)
        assert content_checksum(connection)
    codes = {finding.code for finding in run_audit(store, oldest, since=DAY, deep=True).findings}
    assert not {code for code in codes if code.startswith("rows_")}


@pytest.mark.usefixtures("store")
def test_api_on_oldest_server_answers_every_path(oldest: Engine) -> None:
    reader = f"reader_{oldest.url.database}"
    url = url_of(oldest).set(username=reader, password=grant_role(oldest, reader, READER).password)

    app = create_app(make_settings(url))
    with serving(app) as client:
        for path in sorted(path for path in app.openapi()["paths"] if path != "/metrics"):
            filled = re.sub(r"\{(\w+)\}", lambda found: VALUES[found[1]], path)
            for query in QUERIES.get(path, ("",)):
                answer = client.get(f"{filled}?{query}")
                assert answer.status_code == 200, (filled, query, answer.text)
