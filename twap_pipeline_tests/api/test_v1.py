"""``/api/v1``: the contract of the original Hyperliquid TWAP Data Service, row by row."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from twap_pipeline.api.queries import v1
from twap_pipeline_tests.api.serving import Tables, ended_order
from twap_pipeline_tests.factories import WALLET, event

YEAR = {"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
EVENT_KEYS = "wallet ts asset side size_requested size_executed notional_executed status duration_minutes raw"


@pytest.fixture
def filled(tables: Tables) -> Tables:
    """Order 10 with two events, 9 with one at a full second, 99 of a spot pair; order 5 of another wallet."""
    full_second = {**event(9), "time": "2025-08-20T12:00:00"}
    rows = [*ended_order(10), full_second, event(99, asset="@107", minute=5), event(5, wallet="0x" + "ab" * 20)]
    tables.load("hourly/2025/08/20/12/a.parquet", rows)
    return tables


def get(client: httpx2.Client, **parameters: Any) -> Any:
    response = client.get("/api/v1/twaps", params={"wallet": WALLET, **YEAR, **parameters})
    assert response.status_code == 200, response.text
    return response.json()


def ids(client: httpx2.Client, **parameters: Any) -> list[str]:
    return [item["twap_id"] for item in get(client, **parameters)["twaps"]]


def has_keys_of_a_page(client: httpx2.Client) -> None:
    page = get(client)
    assert list(page) == ["wallet", "start", "end", "twaps"]
    assert (page["wallet"], page["start"], page["end"]) == (WALLET, YEAR["start"], YEAR["end"])
    first = page["twaps"][0]
    raw = first.pop("raw")
    assert first == {
        "twap_id": "10",
        "asset": "HYPE",
        "side": "B",
        "status": "finished",
        "duration_minutes": 30,
        "latest_ts": "2025-08-20T12:30:00.123456Z",
        "executed": {"size": "10", "notional": "0.0"},
    }
    assert raw["state_executedSz"] == "10"


def sorts_by_twap_id_as_text(client: httpx2.Client) -> None:
    assert ids(client) == ["10", "9", "99"]


def omits_a_fraction_of_zero(client: httpx2.Client) -> None:
    assert get(client)["twaps"][1]["latest_ts"] == "2025-08-20T12:00:00Z"


def includes_both_ends_of_the_range(client: httpx2.Client) -> None:
    noon = "2025-08-20T12:00:00Z"
    assert ids(client, start=noon, end=noon) == ["9"]
    assert ids(client, start="2025-08-20T12:00:00", end="2025-08-20T14:05:00.123455+02:00") == ["10", "9"]
    assert ids(client, start=YEAR["end"], end=YEAR["start"]) == []


def shows_the_latest_event_in_the_range(client: httpx2.Client) -> None:
    (order,) = [item for item in get(client, end="2025-08-20T12:10:00Z")["twaps"] if item["twap_id"] == "10"]
    assert order["status"] == "activated"


def has_all_rows_of_each_order(client: httpx2.Client) -> None:
    first, *_ = get(client, latest_per_twap="false")["twaps"]
    assert ids(client, latest_per_twap="false") == ["10", "9", "99"]
    assert list(first["raw"]) == ["latest", "all_rows"]
    assert [row["state_executedSz"] for row in first["raw"]["all_rows"]] == ["10", "0.0"]
    assert first["raw"]["latest"] == first["raw"]["all_rows"][0]
    (only,) = get(client, latest_per_twap="false", end="2025-08-20T12:10:00Z", asset="HYPE", limit=1)["twaps"]
    assert len(only["raw"]["all_rows"]) == 1


def filters_by_asset(client: httpx2.Client) -> None:
    assert ids(client, asset="@107") == ["99"]
    assert ids(client, asset="") == ["10", "9", "99"]
    assert ids(client, asset="\0") == []


def accepts_limits_and_any_offset(client: httpx2.Client) -> None:
    assert ids(client, limit=5000) == ["10", "9", "99"]
    assert ids(client, limit=1, offset=1) == ["9"]
    assert ids(client, offset=100_000) == ids(client, offset=10**30) == []
    for limits in ({"limit": 0}, {"limit": 5001}, {"offset": -1}):
        assert client.get("/api/v1/twaps", params={"wallet": WALLET, **YEAR, **limits}).status_code == 422


def accepts_any_wallet(client: httpx2.Client) -> None:
    assert [get(client, wallet=wallet)["twaps"] for wallet in ("nobody", "", "\0", "é")] == [[]] * 4
    assert get(client, wallet="nobody")["wallet"] == "nobody"
    assert ids(client, wallet=WALLET.upper()) == ["10", "9", "99"]


def ignores_unknown_parameters(client: httpx2.Client) -> None:
    assert ids(client, page="3") == ["10", "9", "99"]


def requires_wallet_start_and_end(client: httpx2.Client) -> None:
    for name in ("wallet", "start", "end"):
        parameters = {key: value for key, value in {"wallet": WALLET, **YEAR}.items() if key != name}
        refused = client.get("/api/v1/twaps", params=parameters)
        assert (refused.status_code, refused.headers["content-type"]) == (422, "application/json")
        (error,) = refused.json()["detail"]
        assert (error["type"], error["loc"], error["msg"]) == ("missing", ["query", name], "Field required")


def returns_the_events_of_an_order_latest_first(client: httpx2.Client) -> None:
    body = client.get("/api/v1/twaps/10").json()
    assert list(body) == ["twap_id", "rows"]
    assert [row["status"] for row in body["rows"]] == ["finished", "activated"]
    assert " ".join(body["rows"][0]) == EVENT_KEYS
    assert body["rows"][0]["ts"] == "2025-08-20T12:30:00.123456Z"


def answers_404_for_any_unknown_order(client: httpx2.Client) -> None:
    for twap_id in ("1", "anything", "%00", "%F0%9F%98%80", "9" * 100):
        assert client.get(f"/api/v1/twaps/{twap_id}").status_code == 404
    assert client.get("/api/v1/twaps/anything").json()["detail"] == "TWAP ID anything not found"


def has_the_keys_of_healthz(client: httpx2.Client) -> None:
    health = client.get("/healthz").json()
    assert list(health) == ["status", "database", "last_ingested_object", "last_ingested_at"]
    assert (health["status"], health["database"]) == ("healthy", "connected")
    assert health["last_ingested_object"] == "hourly/2025/08/20/12/a.parquet"
    assert health["last_ingested_at"].endswith("Z")


def serves_the_documentation(client: httpx2.Client) -> None:
    assert client.get("/openapi.json").json()["paths"]["/api/v1/twaps"]
    assert "swagger-ui" in client.get("/docs").text
    assert client.get("/redoc", follow_redirects=True).url.path == "/docs"


CONTRACT: tuple[Callable[[httpx2.Client], None], ...] = (
    has_keys_of_a_page,
    sorts_by_twap_id_as_text,
    omits_a_fraction_of_zero,
    includes_both_ends_of_the_range,
    shows_the_latest_event_in_the_range,
    has_all_rows_of_each_order,
    filters_by_asset,
    accepts_limits_and_any_offset,
    accepts_any_wallet,
    ignores_unknown_parameters,
    requires_wallet_start_and_end,
    returns_the_events_of_an_order_latest_first,
    answers_404_for_any_unknown_order,
    has_the_keys_of_healthz,
    serves_the_documentation,
)


@pytest.mark.usefixtures("filled")
def test_v1_has_the_contract_of_the_original_service(client: httpx2.Client) -> None:
    """One test: filling a database and starting a server takes longer than all rows of the contract."""
    failures = []
    for check in CONTRACT:
        try:
            check(client)
        except AssertionError as error:
            failures.append(f"{check.__name__}: {error}")
    assert failures == []


@pytest.mark.fault("A9")
@pytest.mark.parametrize("path", ["", "/10"])
def test_v1_response_above_the_maximum_is_refused(
    client: httpx2.Client, filled: Tables, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A page without its last orders would look complete, because the contract has no cursor."""
    monkeypatch.setattr(v1, "BYTES_MAX", 300)

    refused = client.get(f"/api/v1/twaps{path}", params={"wallet": WALLET, **YEAR})
    one = client.get("/api/v1/twaps", params={"wallet": WALLET, **YEAR, "limit": "1"})

    assert (refused.status_code, refused.json()["title"]) == (400, "Response too large")
    assert one.status_code == 200
