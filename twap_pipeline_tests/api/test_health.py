"""Alive, ready, in figures; request ids, headers and logs around every json_response."""

import json
import logging

import httpx2
import pytest
from sqlalchemy import URL

from twap_pipeline.api import create_app
from twap_pipeline.api.logs import JsonFormatter
from twap_pipeline.settings import Settings
from twap_pipeline_tests.api.conftest import eventually, serving


def unreachable() -> Settings:
    return Settings.model_validate({"DATABASE_URL": "postgresql://nobody:s3cret-pass@127.0.0.1:1/nowhere"})


def test_alive_and_ready_at_head(client: httpx2.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "revision": "005"}


def test_not_ready_on_an_empty_database_and_the_way_out_is_told(empty_database: URL) -> None:
    settings = Settings.model_validate({"DATABASE_URL": empty_database.render_as_string(hide_password=False)})
    with serving(create_app(settings)) as client:
        ready, data = client.get("/readyz"), client.get("/api/v1/twaps/1")

    assert (ready.status_code, ready.json()["title"]) == (503, "Schema not ready")
    assert "twap-pipeline migrate" in ready.json()["detail"]
    assert (data.status_code, data.json()["title"]) == (503, "Schema not ready")


@pytest.mark.fault("X2")
def test_without_a_database_it_lives_and_says_nothing_of_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), serving(create_app(unreachable())) as client:
        alive, ready, data = client.get("/healthz"), client.get("/readyz"), client.get("/api/v1/twaps/1")

    assert alive.status_code == 200
    for refused in (ready, data):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.headers["content-type"] == "application/problem+json"
        for leak in ("s3cret-pass", "nobody", "nowhere", "127.0.0.1", "SELECT", ".py"):
            assert leak not in refused.text
    assert "s3cret-pass" not in caplog.text


@pytest.mark.fault("X2")
@pytest.mark.parametrize("fault", ["password", "database", "user"])
def test_a_database_that_refuses_is_not_there_for_callers(database: URL, fault: str) -> None:
    wrong = {
        "password": database.set(password="wrong-secret"),
        "database": database.set(database="wrong-place"),
        "user": database.set(username="wrong-name"),
    }
    url = wrong[fault].render_as_string(hide_password=False)
    with serving(create_app(Settings.model_validate({"DATABASE_URL": url}))) as client:
        refused = client.get("/api/v1/twaps/1")

    assert (refused.status_code, refused.json()["title"]) == (503, "Database unavailable")
    assert "wrong" not in refused.text


def test_a_request_id_is_taken_over_where_usable_and_made_otherwise(client: httpx2.Client) -> None:
    given = client.get("/healthz", headers={"X-Request-ID": "trace-1.2_3"})
    spoiled = client.get("/healthz", headers={"X-Request-ID": 'x" {"level":"forged"}'})
    refused = client.get("/api/v1/twaps/x", headers={"X-Request-ID": "abc"})

    assert given.headers["x-request-id"] == "trace-1.2_3"
    assert len(spoiled.headers["x-request-id"]) == 32
    assert refused.json()["request_id"] == refused.headers["x-request-id"] == "abc"


@pytest.mark.parametrize("path", ["/healthz", "/nothing-here", "/api/v1/twaps/x", "/api/v1/twaps/1"])
def test_every_answer_has_the_protecting_headers(idle_client: httpx2.Client, path: str) -> None:
    headers = idle_client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_get_is_answered(idle_client: httpx2.Client, method: str) -> None:
    refused = idle_client.request(method, "/api/v1/twaps/1")

    assert (refused.status_code, refused.json()["title"]) == (405, "Method Not Allowed")


def test_a_defect_is_an_answer_like_every_other(client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(twap_id: str) -> None:
        raise RuntimeError("secret inner workings at /srv/app.py")

    monkeypatch.setattr("twap_pipeline.api.routes.twaps.order_events", broken)
    failed = client.get("/api/v1/twaps/1", headers={"X-Request-ID": "mine"})

    assert (failed.status_code, failed.json()["request_id"]) == (500, "mine")
    assert failed.headers["x-request-id"] == "mine"
    assert "secret" not in failed.text


def test_metrics_count_by_route_and_name_no_wallet_or_order(client: httpx2.Client) -> None:
    client.get("/api/v1/twaps/123456789")
    client.get("/no/such/path")

    eventually(lambda: 'requests_total{route="other",status="404"} 1.0' in client.get("/metrics").text)
    to_json_value = client.get("/metrics").text

    assert 'twap_api_requests_total{route="/api/v1/twaps/{twap_id}",status="404"} 1.0' in to_json_value
    assert 'twap_api_pool_connections{pool="queries",state="limit"} 8.0' in to_json_value
    assert "123456789" not in to_json_value


def test_each_app_has_figures_of_its_own(client: httpx2.Client, database: URL) -> None:
    client.get("/api/v1/twaps/1")
    with serving(create_app()) as other:
        assert 'route="/api/v1/twaps/{twap_id}"' not in other.get("/metrics").text


def test_a_request_is_one_line_of_json(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "twap_pipeline.api"):
        client.get("/api/v1/twaps/1?x=1", headers={"X-Request-ID": "abc"})
        eventually(lambda: "request" in caplog.messages)

    (record,) = [record for record in caplog.records if record.getMessage() == "request"]
    said = json.loads(JsonFormatter().format(record))
    assert said["request_id"] == "abc"
    assert (said["method"], said["path"], said["status"]) == ("GET", "/api/v1/twaps/1", 404)
    assert said["seconds"] >= 0
    assert said["time"].endswith("+00:00")
