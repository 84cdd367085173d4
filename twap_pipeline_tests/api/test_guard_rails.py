"""Keys, limits, floods, migrations under load: what is refused is refused fast, and what can be served is."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psycopg
import pytest
from sqlalchemy import URL, Engine, text

from twap_pipeline.api import create_app
from twap_pipeline.api.keys import make_key, matching_hash
from twap_pipeline.api.rate_limit import RateLimit
from twap_pipeline.settings import Settings
from twap_pipeline.storage.engine.reader_role import grant_reader
from twap_pipeline_tests.api.conftest import Tables, eventually, serving
from twap_pipeline_tests.factories import WALLET, event

TWAPS = f"/api/v1/twaps?wallet={WALLET}"


def settings(database: URL, **given: object) -> Settings:
    url = database.render_as_string(hide_password=False)
    return Settings.model_validate({"DATABASE_URL": url, "TWAP_API_RATE_LIMIT_PER_MINUTE": 0, **given})


@pytest.fixture
def locked(database: URL) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session that locks the events, so that every query of them waits for its statement timeout."""
    with psycopg.connect(database.render_as_string(hide_password=False)) as connection:
        connection.execute("LOCK TABLE twap_status IN ACCESS EXCLUSIVE MODE")
        yield connection


def test_without_hashes_no_key_is_asked_for(idle_client: httpx2.Client) -> None:
    assert idle_client.get(TWAPS).status_code == 200


def test_with_hashes_only_a_known_key_opens_data_and_metrics(database: URL) -> None:
    (key, hashed), (other, _) = make_key(), make_key()
    known = f"{make_key()[1]}, {hashed}"

    with serving(create_app(settings(database, TWAP_API_KEY_HASHES=known))) as client:
        for path in (TWAPS, "/metrics"):
            assert client.get(path, headers={"Authorization": f"Bearer {key}"}).status_code == 200
            for header in ({}, {"Authorization": f"Bearer {other}"}, {"Authorization": f"Basic {key}"}):
                refused = client.get(path, headers=header)
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get(f"{TWAPS}&key={key}").status_code == 401
        assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/")] == [200, 200, 200]


@pytest.mark.unit
def test_a_key_is_random_and_only_its_hash_is_compared() -> None:
    (one, hashed), (other, _) = make_key(), make_key()

    assert one != other
    assert matching_hash(one, ["0" * 64, hashed]) == hashed
    assert matching_hash(other, [hashed]) is None
    assert matching_hash("\udcff", [hashed]) is None


def test_a_client_that_asks_too_often_is_told_when_to_come_back(database: URL) -> None:
    with serving(create_app(settings(database, TWAP_API_RATE_LIMIT_PER_MINUTE=3))) as client:
        statuses = [client.get(TWAPS) for _ in range(4)]
        alive = [client.get("/healthz").status_code for _ in range(5)]

    assert [one.status_code for one in statuses] == [200, 200, 200, 429]
    assert 1 <= int(statuses[-1].headers["retry-after"]) <= 20
    assert alive == [200] * 5


@pytest.mark.unit
def test_a_bucket_refills_evenly_and_belongs_to_one_client() -> None:
    now = [0.0]
    limit = RateLimit(60, clock=lambda: now[0])

    assert [limit.seconds_to_wait("a") for _ in range(60)] == [0.0] * 60
    assert limit.seconds_to_wait("a") == pytest.approx(1)
    assert limit.seconds_to_wait("b") == 0
    now[0] += 2.5
    assert [limit.seconds_to_wait("a") > 0 for _ in range(3)] == [False, False, True]


def test_other_origins_are_let_in_only_by_name(database: URL) -> None:
    allowed, other = ({"Origin": f"https://{name}.example"} for name in ("tax", "evil"))

    with serving(create_app(settings(database, TWAP_API_CORS_ORIGINS="https://tax.example"))) as client:
        assert client.get(TWAPS, headers=allowed).headers["access-control-allow-origin"] == "https://tax.example"
        assert "access-control-allow-origin" not in client.get(TWAPS, headers=other).headers
    with serving(create_app(settings(database))) as client:
        assert "access-control-allow-origin" not in client.get(TWAPS, headers=allowed).headers


@pytest.mark.fault("A5")
def test_a_flood_of_slow_queries_is_refused_fast_and_then_passes(
    database: URL, locked: psycopg.Connection[tuple[object, ...]]
) -> None:
    slow = settings(database, TWAP_API_POOL_SIZE=2, TWAP_API_STATEMENT_TIMEOUT_SECONDS=6)
    with serving(create_app(slow)) as client, ThreadPoolExecutor(30) as callers:
        started = time.monotonic()
        flood = [callers.submit(client.get, TWAPS) for _ in range(30)]
        eventually(lambda: 'pool="queries",state="in_use"} 2.0' in client.get("/metrics").text)

        asked = time.monotonic()
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert time.monotonic() - asked < 1
        refused = [one for one in (done.result() for done in flood[:]) if one.json()["title"] == "Service unavailable"]
        assert len(refused) >= 20
        assert max(one.elapsed.total_seconds() for one in refused) < 4
        assert {(one.status_code, one.headers["retry-after"]) for one in refused} == {(503, "1")}
        to_json_value = Counter(done.result().json()["title"] for done in flood)
        assert set(to_json_value) == {"Service unavailable", "Query timeout"}
        assert time.monotonic() - started < 20

        locked.rollback()
        assert client.get(TWAPS).status_code == 200
        eventually(lambda: 'pool="queries",state="in_use"} 0.0' in client.get("/metrics").text)


@pytest.mark.fault("A5")
def test_callers_that_hang_up_leave_no_connection_behind(
    database: URL, locked: psycopg.Connection[tuple[object, ...]]
) -> None:
    slow = settings(database, TWAP_API_POOL_SIZE=2, TWAP_API_STATEMENT_TIMEOUT_SECONDS=1)
    with serving(create_app(slow)) as client:
        for _ in range(4):
            with pytest.raises(httpx2.ReadTimeout):
                client.get(TWAPS, timeout=httpx2.Timeout(30, read=0.2))
        eventually(lambda: 'pool="queries",state="in_use"} 0.0' in client.get("/metrics").text)

        locked.rollback()
        assert client.get(TWAPS).status_code == 200


@pytest.mark.fault("A6")
def test_everything_is_served_by_the_reader_s_role(tables: Tables, database: URL) -> None:
    tables.take("a", [event(1), event(1, status="finished", minute=30, executed="10")])
    role = f"serving-{database.database}"
    reader = database.set(username=role, password=grant_reader(tables.engine, role))
    paths = (
        TWAPS,
        "/api/v1/twaps/1",
        f"/api/v1/wallets/{WALLET}/summary",
        "/api/v1/twaps/active",
        "/api/v1/pressure",
        "/api/v1/stats/daily?start=2025-08-20",
        "/api/v1/coverage",
        f"/api/v1/wallets/{WALLET}/export.csv",
        f"/api/v1/wallets/{WALLET}/export.parquet",
        "/readyz",
    )

    with serving(create_app(settings(reader))) as client:
        assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)


@pytest.mark.fault("M7")
def test_an_additive_migration_under_query_load_gives_no_5xx(
    client: httpx2.Client, tables: Tables, engine: Engine
) -> None:
    tables.take("a", [event(n) for n in range(50)])
    stop, seen = threading.Event(), Counter[int]()

    def ask() -> None:
        while not stop.is_set():
            for path in (TWAPS, "/api/v1/twaps/1", "/api/v1/coverage", f"/api/v1/wallets/{WALLET}/summary"):
                seen[client.get(path).status_code] += 1

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    eventually(lambda: seen[200] > 20)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("twap_status", "twap_orders", "etl_s3_ingest_log"):
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN later TEXT DEFAULT 'x'"))
            connection.execute(text(f"CREATE INDEX CONCURRENTLY {table}_later ON {table} (later)"))
    before = seen[200]
    eventually(lambda: seen[200] > before + 40)
    stop.set()
    for caller in callers:
        caller.join()

    assert set(seen) == {200}
