"""API keys, rate limit, CORS, overload, lost clients, and migrations under load."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from unittest.mock import MagicMock

import httpx2
import psycopg
import pytest
from sqlalchemy import URL, Engine, text

from twap_pipeline.api import create_app, http_protocol
from twap_pipeline.api.app import POOL_TIMEOUT_SECONDS
from twap_pipeline.api.keys import make_key, matching_hash
from twap_pipeline.api.metrics import Metrics
from twap_pipeline.api.rate_limit import RateLimit
from twap_pipeline.api.state import AppState
from twap_pipeline_tests.api.serving import Tables, eventually, make_settings, serving
from twap_pipeline_tests.factories import WALLET, event

TWAPS = f"/api/v2/events?wallet={WALLET}"


@pytest.fixture
def locked(database: URL) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session that locks ``twap_status``, so each statement on it runs into its statement timeout."""
    with psycopg.connect(database.render_as_string(hide_password=False)) as connection:
        connection.execute("LOCK TABLE twap_status IN ACCESS EXCLUSIVE MODE")
        yield connection


def test_no_key_is_required_without_hashes(idle_client: httpx2.Client) -> None:
    assert idle_client.get(TWAPS).status_code == 200


def test_known_key_is_required_for_data_and_metrics(database: URL) -> None:
    (key, hashed), (other, _) = make_key(), make_key()
    known = f"{make_key()[1]}, {hashed}"

    with serving(create_app(make_settings(database, TWAP_API_KEY_HASHES=known))) as client:
        for path in (TWAPS, "/metrics"):
            assert client.get(path, headers={"Authorization": f"Bearer {key}"}).status_code == 200
            for header in ({}, {"Authorization": f"Bearer {other}"}, {"Authorization": f"Basic {key}"}):
                refused = client.get(path, headers=header)
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get(f"{TWAPS}&key={key}").status_code == 401
        assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/")] == [200, 200, 200]


def test_key_is_random_and_compared_by_hash() -> None:
    (key, hashed), (other, _) = make_key(), make_key()

    assert key != other
    assert matching_hash(key, ["0" * 64, hashed]) == hashed
    assert matching_hash(other, [hashed]) is None
    assert matching_hash("\udcff", [hashed]) is None


def test_rate_limit_exceeded_is_429_with_retry_after(database: URL) -> None:
    with serving(create_app(make_settings(database, TWAP_API_RATE_LIMIT_PER_MINUTE=3))) as client:
        responses = [client.get(TWAPS) for _ in range(4)]
        alive = [client.get("/healthz").status_code for _ in range(5)]

    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert 1 <= int(responses[-1].headers["retry-after"]) <= 20
    assert alive == [200] * 5


def test_rate_limit_refills_evenly_per_client() -> None:
    now = [0.0]
    limit = RateLimit(60, clock=lambda: now[0])

    assert [limit.seconds_to_wait("a") for _ in range(60)] == [0.0] * 60
    assert limit.seconds_to_wait("a") == pytest.approx(1)
    assert limit.seconds_to_wait("b") == 0
    now[0] += 2.5
    assert [limit.seconds_to_wait("a") > 0 for _ in range(3)] == [False, False, True]


def test_cors_allows_only_configured_origins(database: URL) -> None:
    allowed, other = ({"Origin": f"https://{name}.example"} for name in ("tax", "evil"))

    with serving(create_app(make_settings(database, TWAP_API_CORS_ORIGINS="https://tax.example"))) as client:
        assert client.get(TWAPS, headers=allowed).headers["access-control-allow-origin"] == "https://tax.example"
        assert "access-control-allow-origin" not in client.get(TWAPS, headers=other).headers
    with serving(create_app(make_settings(database))) as client:
        assert "access-control-allow-origin" not in client.get(TWAPS, headers=allowed).headers


def test_cors_headers_are_on_error_responses(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser hides a response without these headers from the script, and with it the cause."""

    def raise_error(twap_id: str, **_options: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("twap_pipeline.api.routes.orders.order_events", raise_error)
    origin = "https://tax.example"
    with serving(create_app(make_settings(database, TWAP_API_CORS_ORIGINS=origin))) as client:
        paths = {"/api/v2/orders/1": 500, "/api/v2/stats/daily": 422, "/nothing": 404}
        responses = {path: client.get(path, headers={"Origin": origin}) for path in paths}
    unreachable = database.set(host="127.0.0.1", port=1)
    with serving(create_app(make_settings(unreachable, TWAP_API_CORS_ORIGINS=origin))) as client:
        for path in ("/api/v2/coverage", "/readyz", f"/api/v2/wallets/{WALLET}/exports/csv"):
            paths[path] = 503
            responses[path] = client.get(path, headers={"Origin": origin})

    assert {path: response.status_code for path, response in responses.items()} == paths
    assert {response.headers["access-control-allow-origin"] for response in responses.values()} == {origin}
    assert "Retry-After" in responses["/readyz"].headers["access-control-expose-headers"]


def test_waiting_queries_run_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that repeats its request at once does not overtake the clients that wait."""
    finished: list[str] = []

    async def fetch_all(_engine: object, name: str, _parameters: object) -> list[Any]:
        await asyncio.sleep(0)
        finished.append(name)
        return []

    async def run() -> None:
        slots = asyncio.Semaphore(1)
        state = AppState((), None, Metrics(), slots, POOL_TIMEOUT_SECONDS, MagicMock())

        async def repeat(name: str) -> None:
            for number in range(2):
                await state.fetch_all(f"{name}{number}")  # type: ignore[arg-type]  # passed to the stub

        await asyncio.gather(*map(repeat, "abc"))

    monkeypatch.setattr("twap_pipeline.api.state.fetch_all", fetch_all)
    asyncio.run(run())

    assert finished == ["a0", "b0", "c0", "a1", "b1", "c1"]


@pytest.mark.fault("A5")
def test_overload_is_refused_fast_and_then_recovers(
    database: URL, locked: psycopg.Connection[tuple[object, ...]]
) -> None:
    slow = make_settings(database, TWAP_API_POOL_SIZE=2, TWAP_API_STATEMENT_TIMEOUT_SECONDS=6)
    with serving(create_app(slow)) as client, ThreadPoolExecutor(30) as callers:
        started = time.monotonic()
        requests = [callers.submit(client.get, TWAPS) for _ in range(30)]
        eventually(lambda: 'pool="queries",state="in_use"} 2.0' in client.get("/metrics").text)

        checked = time.monotonic()
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert time.monotonic() - checked < POOL_TIMEOUT_SECONDS  # neither waits for a connection of the queries
        responses = [request.result() for request in requests]
        refused = [response for response in responses if response.json()["title"] == "Service unavailable"]
        assert len(refused) >= 20
        assert max(response.elapsed.total_seconds() for response in refused) < 6  # before the first query times out
        assert {(response.status_code, response.headers["retry-after"]) for response in refused} == {(503, "1")}
        assert {response.json()["title"] for response in responses} == {"Service unavailable", "Query timeout"}
        assert time.monotonic() - started < 20

        locked.rollback()
        assert client.get(TWAPS).status_code == 200
        eventually(lambda: 'pool="queries",state="in_use"} 0.0' in client.get("/metrics").text)


@pytest.mark.fault("A5")
def test_lost_clients_free_their_connections(database: URL, locked: psycopg.Connection[tuple[object, ...]]) -> None:
    slow = make_settings(database, TWAP_API_POOL_SIZE=2, TWAP_API_STATEMENT_TIMEOUT_SECONDS=1)
    with serving(create_app(slow)) as client:
        for _ in range(4):
            with pytest.raises(httpx2.ReadTimeout):
                client.get(TWAPS, timeout=httpx2.Timeout(30, read=0.2))
        eventually(lambda: 'pool="queries",state="in_use"} 0.0' in client.get("/metrics").text)

        locked.rollback()
        assert client.get(TWAPS).status_code == 200


@pytest.mark.fault("A9")
@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /hea"],
    ids=["nothing", "half", "second_half"],
)
def test_connection_without_a_request_is_closed(
    idle_client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A client that adds a byte now and then does not keep the connection."""
    monkeypatch.setattr(http_protocol, "REQUEST_TIMEOUT_SECONDS", 0.3)
    received = b""
    with socket.create_connection((idle_client.base_url.host, idle_client.base_url.port), timeout=0.1) as half_open:
        half_open.sendall(sent)
        deadline = time.monotonic() + 20
        with suppress(ConnectionError):
            while time.monotonic() < deadline:
                with suppress(TimeoutError):
                    if not (chunk := half_open.recv(4096)):
                        break
                    received += chunk
                half_open.sendall(b"x" if sent else b"")

    assert time.monotonic() < deadline
    assert (b"200 OK" in received) == (sent.count(b"GET") == 2)
    assert idle_client.get("/healthz").status_code == 200


@pytest.mark.fault("A9")
def test_long_response_outlasts_the_request_timeout(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, locked: psycopg.Connection[tuple[object, ...]]
) -> None:
    monkeypatch.setattr(http_protocol, "REQUEST_TIMEOUT_SECONDS", 0.1)
    threading.Timer(1, locked.rollback).start()

    assert client.get(TWAPS).status_code == 200


@pytest.mark.fault("M7")
def test_additive_migration_under_load_causes_no_5xx(client: httpx2.Client, tables: Tables, engine: Engine) -> None:
    tables.load("a", [event(n) for n in range(50)])
    stop, statuses = threading.Event(), Counter[int]()

    def send_requests() -> None:
        while not stop.is_set():
            for path in (TWAPS, "/api/v2/orders/1", "/api/v2/coverage", f"/api/v2/wallets/{WALLET}/summary"):
                statuses[client.get(path).status_code] += 1

    callers = [threading.Thread(target=send_requests) for _ in range(4)]
    for caller in callers:
        caller.start()
    eventually(lambda: statuses[200] > 20)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("twap_status", "twap_orders", "etl_s3_ingest_log"):
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN later TEXT DEFAULT 'x'"))
            connection.execute(text(f"CREATE INDEX CONCURRENTLY {table}_later ON {table} (later)"))
    before = statuses[200]
    eventually(lambda: statuses[200] > before + 40)
    stop.set()
    for caller in callers:
        caller.join()

    assert set(statuses) == {200}


@pytest.mark.parametrize("path", ["/api/v2/orders", "/api/v2/coverage", "/", "/static/docs_start.js"])
def test_unchanged_response_is_304_with_its_etag(idle_client: httpx2.Client, path: str) -> None:
    first = idle_client.get(path)
    tag = first.headers["etag"]
    same = idle_client.get(path, headers={"If-None-Match": f'"other", {tag}'})
    head = idle_client.head(path, headers={"If-None-Match": tag})
    changed = idle_client.get(path, headers={"If-None-Match": '"other"'})

    assert "no-cache" in first.headers["cache-control"]
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert (head.status_code, changed.status_code, changed.content) == (304, 200, first.content)


def test_changed_data_changes_the_etag(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1)])
    tag = client.get("/api/v2/orders").headers["etag"]
    tables.load("b", [event(2)])

    assert client.get("/api/v2/orders", headers={"If-None-Match": tag}).status_code == 200
    for path in ("/healthz", "/metrics", "/api/v2/orders/9"):
        response = client.get(path)
        assert "etag" not in response.headers, path
        assert response.headers["cache-control"] == "no-store", path


def test_large_responses_are_compressed(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(n) for n in range(100)])

    def encoding(path: str, accepted: str = "gzip") -> str | None:
        return client.get(path, headers={"Accept-Encoding": accepted}).headers.get("content-encoding")

    assert encoding("/api/v2/orders") == "gzip"
    assert encoding("/api/v2/orders", "identity") is None
    assert encoding("/api/v2/orders?limit=1") is None
    assert encoding(f"/api/v2/wallets/{WALLET}/exports/csv") == "gzip"
    assert encoding(f"/api/v2/wallets/{WALLET}/exports/parquet") is None
    assert client.head("/api/v2/orders").headers["content-encoding"] == "gzip"
