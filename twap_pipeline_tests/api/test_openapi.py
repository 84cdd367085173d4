"""The OpenAPI document: generated requests get documented responses; operation IDs and descriptions."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from twap_pipeline.api import create_app
from twap_pipeline.settings import Settings
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.roles import READER, grant_role
from twap_pipeline_tests.api.serving import Tables, make_settings, serving
from twap_pipeline_tests.databases import create_database
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.fill_rows import fill, insert_fills

WALLET = "0x6fa44c6d0584c9f27551533482b256a102194330"
ORDER = 1079490
"""The examples of the document, so that generated requests return rows."""

EXAMPLES = 20
"""Generated cases per path, in addition to the examples of the document."""

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def filled_client(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of an app on tables with the examples' rows. It connects as the reader, whose role must suffice."""
    database = create_database(server_url, template)
    engine = make_engine(database)
    tables = Tables(engine, Bucket(tmp_path_factory.mktemp("bucket")))
    rows = [event(n, wallet=WALLET, asset=asset) for n, asset in ((ORDER, "BTC"), (2, "@107"), (3, "ETH"))]
    end = event(ORDER, wallet=WALLET, asset="BTC", status="finished", minute=30, executed="7.5")
    rows += [{**end, "state_executedNtl": "75"}]
    rows += [event(6, wallet=WALLET, asset="BTC", status="finished", minute=31, executed="1")]  # without its fills
    tables.load("hourly/2025/08/20/12/a.parquet", [*rows, event(4, status='{"error":"no"}'), event(5, wallet="?")])
    at = datetime(2025, 8, 20, 12, 1, tzinfo=UTC)
    values: dict[str, Any] = {"wallet": WALLET, "asset": "BTC", "size": "3.75", "price": "10", "ts": at}
    insert_fills(engine, *(fill(n, ORDER, **values) for n in (1, 2)), fill(3, 99, ts=at))
    reader = database.set(username="openapi", password=grant_role(engine, "openapi", READER).password)
    engine.dispose()
    with serving(create_app(make_settings(reader, TWAP_API_STATEMENT_TIMEOUT_SECONDS=30))) as client:
        yield client


document = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


@pytest.mark.fault("A1")
@document.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_generated_request_has_a_documented_response(case: Case[Any], filled_client: httpx2.Client) -> None:
    case.call_and_validate(base_url=str(filled_client.base_url), checks=_CHECKS)


_RANGE = "start=2025-08-20&end=2025-08-21"


@pytest.mark.parametrize(
    ("path", "route", "has_rows"),
    [
        (f"/api/v1/twaps?wallet={WALLET}&{_RANGE}", "/api/v1/twaps", lambda body: len(body["twaps"]) == 4),
        (
            f"/api/v1/twaps?wallet={WALLET}&{_RANGE}&latest_per_twap=false",
            "/api/v1/twaps",
            lambda body: len(body["twaps"][0]["raw"]["all_rows"]) == 2,
        ),
        (f"/api/v1/twaps/{ORDER}", "/api/v1/twaps/{twap_id}", lambda body: len(body["rows"]) == 2),
        ("/healthz", "/healthz", lambda body: body["last_ingested_object"]),
        ("/api/v2/orders?limit=2", "/api/v2/orders", lambda body: len(body["orders"]) == 2 and body["next_cursor"]),
        (f"/api/v2/orders/{ORDER}", "/api/v2/orders/{twap_id}", lambda body: len(body["events"]) == 2),
        (
            f"/api/v2/orders/{ORDER}/fills?limit=1",
            "/api/v2/orders/{twap_id}/fills",
            lambda body: len(body["fills"]) == 1 and body["next_cursor"],
        ),
        ("/api/v2/orders?include=fills", "/api/v2/orders", lambda body: body["orders"][0]["fills"]),
        (
            f"/api/v2/reconciliation?{_RANGE}",
            "/api/v2/reconciliation",
            lambda body: body["states"]["reconciled"] and body["states"]["no_order"],
        ),
        (
            f"/api/v2/reconciliation/orders?state=no_order&{_RANGE}",
            "/api/v2/reconciliation/orders",
            lambda body: len(body["orders"]) == 1,
        ),
        ("/api/v2/events?limit=3", "/api/v2/events", lambda body: len(body["events"]) == 3 and body["has_more"]),
        (
            f"/api/v2/wallets/{WALLET}/summary",
            "/api/v2/wallets/{wallet}/summary",
            lambda body: len(body["by_asset"]) == 3 and len(body["fills_by_asset"]) == 1,
        ),
        (
            f"/api/v2/wallets/{WALLET}/exports/koinly/statement?market=all&rows=fills",
            "/api/v2/wallets/{wallet}/exports/{format}/statement",
            lambda body: (
                (body["tool"], body["rows"], body["line_count"], body["realized_profits"][0]["token"])
                == ("Koinly", "fills", 2, "USDC")
                and body["orders_not_reconciled"]
                and body["skipped_orders"]
            ),
        ),
        (
            f"/api/v2/leaderboard?{_RANGE}&include=fills",
            "/api/v2/leaderboard",
            lambda body: body["wallets"][0]["fills"],
        ),
        (
            f"/api/v2/pressure/history?asset=BTC&{_RANGE}&horizon=5",
            "/api/v2/pressure/history",
            lambda body: len(body["hours"]) == 24,
        ),
        ("/api/v2/active", "/api/v2/active", lambda body: body["stale"]),
        (
            "/api/v2/stats/daily?start=2025-08-20&limit=1",
            "/api/v2/stats/daily",
            lambda body: body["days"] and body["next_cursor"],
        ),
        ("/api/v2/coverage", "/api/v2/coverage", lambda body: body["days"]),
    ],
)
def test_response_with_rows_matches_its_schema(
    filled_client: httpx2.Client, path: str, route: str, has_rows: Any
) -> None:
    response = filled_client.get(path)

    assert has_rows(response.json())
    document[route]["GET"].validate_response(response)


def test_operation_ids_are_stable() -> None:
    """Generated clients name their methods after the operation IDs."""
    paths = create_app(Settings()).openapi()["paths"]

    assert {path: operations["get"]["operationId"] for path, operations in paths.items()} == {
        "/healthz": "get_health",
        "/readyz": "get_readiness",
        "/metrics": "get_metrics",
        "/api/v1/twaps": "get_twaps",
        "/api/v1/twaps/{twap_id}": "get_twap",
        "/api/v2/orders": "list_orders",
        "/api/v2/orders/{twap_id}": "get_order",
        "/api/v2/orders/{twap_id}/fills": "list_order_fills",
        "/api/v2/events": "list_events",
        "/api/v2/wallets/{wallet}/summary": "get_wallet_summary",
        "/api/v2/wallets/{wallet}/exports/{format}": "export_orders",
        "/api/v2/wallets/{wallet}/exports/{format}/statement": "get_tax_statement",
        "/api/v2/leaderboard": "get_leaderboard",
        "/api/v2/active": "list_active_orders",
        "/api/v2/pressure": "get_pressure",
        "/api/v2/pressure/history": "list_pressure_by_hour",
        "/api/v2/stats/daily": "list_daily_stats",
        "/api/v2/coverage": "get_coverage",
        "/api/v2/reconciliation": "get_reconciliation",
        "/api/v2/reconciliation/orders": "list_reconciled_orders",
    }


def test_document_describes_limitations_and_parameters() -> None:
    openapi = create_app(Settings()).openapi()

    assert "The feed of statuses contains no fees" in openapi["info"]["description"]
    for path, operations in openapi["paths"].items():
        assert list(operations) == ["get"]
        assert operations["get"]["description"], path
        for parameter in operations["get"].get("parameters", []):
            assert parameter["description"], (path, parameter["name"])
    assert json.dumps(openapi).count('"examples"') > 20
