"""Liveness, readiness, metrics, request IDs, security headers and log lines."""

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from sqlalchemy import URL, Engine, text

from twap_pipeline.api import create_app
from twap_pipeline.logs import make_formatter
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.revision_gate import compare_revisions
from twap_pipeline_tests.api.serving import eventually, make_settings, serving
from twap_pipeline_tests.factories import WALLET

UNREACHABLE = parse_database_url("postgresql://nobody:s3cret-pass@127.0.0.1:1/nowhere")


def test_health_and_readiness_at_head(client: httpx2.Client) -> None:
    assert client.get("/healthz").json()["status"] == "healthy"
    assert client.get("/readyz").json() == {"status": "ready", "revision": compare_revisions([], None).head}


def test_readiness_of_an_empty_database_names_migrate(empty_database: URL) -> None:
    with serving(create_app(make_settings(empty_database))) as client:
        ready, data = client.get("/readyz"), client.get("/api/v2/orders/1")

    assert (ready.status_code, ready.json()["title"]) == (503, "Schema not ready")
    assert "twap-pipeline migrate" in ready.json()["detail"]
    assert (data.status_code, data.json()["title"]) == (503, "Schema not ready")


@pytest.mark.fault("X2")
def test_unreachable_database_is_503_and_leaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), serving(create_app(make_settings(UNREACHABLE))) as client:
        alive, ready, data = client.get("/healthz"), client.get("/readyz"), client.get("/api/v2/orders/1")

    assert (alive.status_code, alive.json()["status"]) == (200, "degraded")
    assert alive.json()["database"] in {"error: Database unavailable", "error: no response"}
    for refused in (ready, data):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.headers["content-type"] == "application/problem+json"
        for leak in ("s3cret-pass", "nobody", "nowhere", "127.0.0.1", "SELECT", ".py"):
            assert leak not in refused.text
    assert "s3cret-pass" not in caplog.text


@pytest.mark.fault("X2")
@pytest.mark.parametrize("fault", ["password", "database"])
def test_refused_login_is_database_unavailable(database: URL, fault: str) -> None:
    wrong = {
        "password": database.set(password="wrong-secret"),
        "database": database.set(database="wrong-place"),
    }
    with serving(create_app(make_settings(wrong[fault]))) as client:
        refused = client.get("/api/v2/orders/1")

    assert (refused.status_code, refused.json()["title"]) == (503, "Database unavailable")
    assert "wrong" not in refused.text


def test_request_id_is_kept_if_valid_and_else_generated(client: httpx2.Client) -> None:
    valid = client.get("/healthz", headers={"X-Request-ID": "trace-1.2_3"})
    invalid = client.get("/healthz", headers={"X-Request-ID": 'x" {"level":"forged"}'})
    refused = client.get("/api/v2/orders/x", headers={"X-Request-ID": "abc"})

    assert valid.headers["x-request-id"] == "trace-1.2_3"
    assert len(invalid.headers["x-request-id"]) == 32
    assert refused.json()["request_id"] == refused.headers["x-request-id"] == "abc"


@pytest.mark.parametrize("path", ["/healthz", "/nothing-here", "/api/v2/orders/x", "/api/v2/orders/1"])
def test_every_response_has_security_headers(idle_client: httpx2.Client, path: str) -> None:
    headers = idle_client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_other_methods_than_get_are_405(idle_client: httpx2.Client, method: str) -> None:
    refused = idle_client.request(method, "/api/v2/orders/1")

    assert (refused.status_code, refused.json()["title"]) == (405, "Method Not Allowed")
    assert refused.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/web_ui.js",
        "/healthz",
        "/readyz",
        "/api/v2/openapi.json",
        f"/api/v2/twaps?wallet={WALLET}",
        "/api/v2/orders/1",
        "/api/v2/coverage?unknown=1",
        f"/api/v2/wallets/{WALLET}/export.csv",
        f"/api/v2/wallets/{WALLET}/export.parquet",
        "/nothing-here",
    ],
)
def test_head_has_the_headers_of_get_without_body(idle_client: httpx2.Client, path: str) -> None:
    get, head = (idle_client.request(method, path, headers={"X-Request-ID": "same"}) for method in ("GET", "HEAD"))

    def headers(response: httpx2.Response) -> dict[str, str]:
        return {name: value for name, value in response.headers.items() if name not in ("date", "transfer-encoding")}

    assert (head.status_code, head.content) == (get.status_code, b"")
    assert headers(head) == headers(get)


def test_head_is_counted_by_its_route_and_leaves_no_export_open(client: httpx2.Client) -> None:
    path = f"/api/v2/wallets/{WALLET}/exports/csv"
    for _ in range(6):  # more than EXPORT_POOL_SIZE
        assert client.head(path).status_code == 200

    route = "/api/v2/wallets/{wallet}/exports/{format}"
    counted = f'twap_api_requests_total{{route="{route}",status="200"}} 6.0'
    eventually(lambda: counted in client.get("/metrics").text)
    assert 'pool="exports",state="in_use"} 0.0' in client.get("/metrics").text


def test_unhandled_exception_is_a_problem_without_details(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_error(twap_id: str, **_options: object) -> None:
        raise RuntimeError("secret inner workings at /srv/app.py")

    monkeypatch.setattr("twap_pipeline.api.routes.orders.order_events", raise_error)
    failed = client.get("/api/v2/orders/1", headers={"X-Request-ID": "mine"})

    assert (failed.status_code, failed.json()["request_id"]) == (500, "mine")
    assert failed.headers["x-request-id"] == "mine"
    assert "secret" not in failed.text


def test_metrics_label_routes_by_template(client: httpx2.Client) -> None:
    client.get("/api/v2/orders/123456789")
    client.get("/no/such/path")

    eventually(lambda: 'requests_total{route="other",status="404"} 1.0' in client.get("/metrics").text)
    metrics = client.get("/metrics").text

    assert 'twap_api_requests_total{route="/api/v2/orders/{twap_id}",status="404"} 1.0' in metrics
    assert 'twap_api_pool_connections{pool="queries",state="limit"} 8.0' in metrics
    assert "123456789" not in metrics


def test_parallel_requests_open_no_more_connections_than_stated(database: URL, engine: Engine) -> None:
    """`TWAP_API_POOL_SIZE` for queries and one for readiness; the pools keep their connections open."""
    paths = ["/api/v2/coverage", "/readyz"] * 10
    with (
        serving(create_app(make_settings(database, TWAP_API_POOL_SIZE=2))) as client,
        ThreadPoolExecutor(len(paths)) as threads,
    ):
        assert {response.status_code for response in threads.map(client.get, paths)} == {200}
        with engine.connect() as connection:
            sessions = connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE application_name = 'twap_pipeline_api' AND datname = current_database()"
                )
            ).scalar_one()

    assert 2 <= sessions <= 3


def test_metrics_of_two_apps_are_separate(client: httpx2.Client, database: URL) -> None:
    client.get("/api/v2/orders/1")
    with serving(create_app(make_settings(database))) as other:
        assert 'route="/api/v2/orders/{twap_id}"' not in other.get("/metrics").text


def test_request_is_logged_as_one_json_line(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "twap_pipeline.api"):
        client.get("/api/v2/orders/1?limit=1", headers={"X-Request-ID": "abc"})
        eventually(lambda: "request" in caplog.messages)

    (record,) = [record for record in caplog.records if record.getMessage() == "request"]
    line = make_formatter("json").format(record)
    fields = json.loads(line)
    assert "\n" not in line
    assert (fields["level"], fields["logger"], fields["message"]) == ("INFO", "twap_pipeline.api", "request")
    assert fields["request_id"] == "abc"
    assert (fields["method"], fields["path"], fields["status"]) == ("GET", "/api/v2/orders/1", 404)
    assert 0 < fields["seconds"] < 60
    assert fields["time"].endswith("+00:00")


def test_log_line_has_traceback_and_no_color_message() -> None:
    try:
        int("é")
    except ValueError:
        record = logging.getLogger("uvicorn.error").makeRecord(
            "uvicorn.error", logging.ERROR, "f", 1, "failed %d", (1,), sys.exc_info(), extra={"color_message": "x"}
        )

    line = make_formatter("json").format(record)

    fields = json.loads(line)
    assert set(fields) == {"time", "level", "logger", "message", "traceback"}
    assert fields["message"] == "failed 1"
    assert "ValueError: invalid literal" in fields["traceback"]
    assert ("é" in line, "\n" in line) == (True, False)
