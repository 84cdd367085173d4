"""A wallet's orders and an order's story: keys to the letter, digits to the last, pages without gap or repeat."""

import itertools
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from twap_pipeline_tests.api.conftest import Tables
from twap_pipeline_tests.factories import NOON, WALLET, event

Answer = dict[str, Any]


def ask(client: httpx2.Client, **parameters: object) -> Answer:
    """Return a wallet's page."""
    json_response = client.get(
        "/api/v1/twaps", params={"wallet": WALLET, **{name: str(it) for name, it in parameters.items()}}
    )
    assert json_response.status_code == 200, json_response.text
    return dict(json_response.json())


def every_page(client: httpx2.Client, between: Callable[[], None] = lambda: None, **parameters: object) -> list[Answer]:
    """Follow the cursors to the end; in between something else may happen."""
    page = ask(client, **parameters)
    found = list(page["twaps"])
    while page["next_cursor"]:
        between()
        page = ask(client, **parameters, cursor=page["next_cursor"])
        found += page["twaps"]
    return found


def ended(twap_id: int, minute: int = 30, **fields: Any) -> list[dict[str, object]]:
    """Return an order that is activated at noon and finishes so many minutes later."""
    return [event(twap_id, **fields), event(twap_id, status="finished", minute=minute, executed="10", **fields)]


def test_a_page_has_the_agreed_keys_to_the_letter(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", ended(1))

    page = ask(client, start="2025-08-20", end="2025-08-21T00:00:00+00:00")

    (order,) = page["twaps"]
    assert list(page) == ["wallet", "start", "end", "twaps", "next_cursor"]
    assert (page["start"], page["end"]) == ("2025-08-20T00:00:00.000000Z", "2025-08-21T00:00:00.000000Z")
    raw = order.pop("raw")
    assert order == {
        "twap_id": "1",
        "asset": "HYPE",
        "side": "B",
        "status": "finished",
        "duration_minutes": 30,
        "latest_ts": "2025-08-20T12:30:00.123456Z",
        "executed": {"size": "10", "notional": "0.0"},
    }
    assert raw["state_executedSz"] == "10"


def test_an_order_tells_every_event_with_the_agreed_keys(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", ended(1))

    story = client.get("/api/v1/twaps/1").json()

    assert list(story) == ["twap_id", "rows"]
    assert [row["status"] for row in story["rows"]] == ["activated", "finished"]
    keys = "wallet ts asset side size_requested size_executed notional_executed status duration_minutes raw"
    assert list(story["rows"][0]) == keys.split()
    assert story["rows"][0]["ts"] == "2025-08-20T12:00:00.123456Z"
    assert client.get("/api/v1/twaps/2").status_code == 404


@pytest.mark.fault("V3")
def test_decimals_and_raw_come_exact_to_the_digit(client: httpx2.Client, tables: Tables) -> None:
    sixty = "0." + "1234567890" * 6
    row = {**event(1), "state_sz": sixty, "state_executedSz": "0.0000000000000000000000000000010", "extra": 0.1}
    tables.take("a", [{**row, "state_executedNtl": "123456789012345678901234567890.10"}])

    json_response = client.get("/api/v1/twaps/1")
    (found,) = json_response.json()["rows"]

    assert found["size_requested"] == sixty
    assert found["size_executed"] == "0.0000000000000000000000000000010"
    assert found["notional_executed"] == "123456789012345678901234567890.10"
    with tables.engine.connect() as connection:
        stored = connection.execute(text("SELECT raw_payload::text FROM twap_status")).scalar_one()
    assert stored in json_response.text


@pytest.mark.fault("V7")
@pytest.mark.parametrize("wallet", [WALLET.upper().replace("0X", "0x"), WALLET.upper(), WALLET])
def test_a_wallet_is_found_in_any_case(client: httpx2.Client, tables: Tables, wallet: str) -> None:
    tables.take("a", [event(1)])

    page = client.get("/api/v1/twaps", params={"wallet": wallet}).json()

    assert (page["wallet"], len(page["twaps"])) == (WALLET, 1)


def test_ranges_are_half_open(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [event(1), event(2, minute=1)])
    at = NOON + timedelta(microseconds=123456)

    def ids(**parameters: object) -> list[str]:
        return [one["twap_id"] for one in ask(client, **parameters)["twaps"]]

    assert ids(start=at.isoformat(), end=(at + timedelta(minutes=1)).isoformat()) == ["1"]
    assert ids(start=(at + timedelta(microseconds=1)).isoformat()) == ["2"]
    assert ids(end=at.isoformat()) == []
    assert ids(start=at.isoformat(), end=at.isoformat()) == []


def test_each_event_or_the_latest_of_each_order(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [*ended(1), event(2, minute=5)])

    latest, every = ask(client), ask(client, latest_per_twap="false")

    assert [(one["twap_id"], one["status"]) for one in latest["twaps"]] == [("1", "finished"), ("2", "activated")]
    assert len(every["twaps"]) == 3


def test_the_range_is_on_events_starts_or_ends(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [*ended(1, minute=30), *ended(2, minute=90), event(3)])
    late = {"start": NOON.replace(hour=13).isoformat()}

    def ids(**parameters: object) -> list[str]:
        return [one["twap_id"] for one in ask(client, **parameters)["twaps"]]

    assert ids(**late) == ["2"]
    assert ids(time="ended", end=NOON.replace(hour=13).isoformat()) == ["1"]
    assert ids(time="started", end=NOON.replace(hour=13).isoformat()) == ["2", "1", "3"]
    assert ids(time="started", **late) == []


def test_within_a_range_an_order_shows_what_it_was_then(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", ended(1, minute=90))

    (order,) = ask(client, end=NOON.replace(hour=13).isoformat())["twaps"]

    assert (order["status"], order["executed"]["size"]) == ("activated", "0.0")


def test_filters_by_asset_and_by_the_status_that_the_order_is_at(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [*ended(1), event(2, asset="@107"), event(3)])

    assert [one["twap_id"] for one in ask(client, asset="@107")["twaps"]] == ["2"]
    assert [one["twap_id"] for one in ask(client, status="activated", asset="HYPE")["twaps"]] == ["3"]
    assert [one["twap_id"] for one in ask(client, status="finished")["twaps"]] == ["1"]


def test_offset_and_limit(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [event(n, minute=n) for n in range(1, 6)])

    assert [one["twap_id"] for one in ask(client, limit=2, offset=1)["twaps"]] == ["4", "3"]
    assert ask(client, limit=5)["next_cursor"] is None


@pytest.mark.fault("A2")
@pytest.mark.parametrize("latest", ["true", "false"])
def test_pages_over_equal_times_have_no_gap_and_no_repeat(client: httpx2.Client, tables: Tables, latest: str) -> None:
    tables.take("a", [event(n) for n in range(1, 31)])

    found = [one["twap_id"] for one in every_page(client, limit=4, latest_per_twap=latest)]

    assert sorted(found, key=int) == [str(n) for n in range(1, 31)]


@pytest.mark.fault("A2")
@pytest.mark.parametrize("latest", ["true", "false"])
def test_what_arrives_between_pages_neither_shifts_nor_doubles_nor_appears(
    client: httpx2.Client, tables: Tables, latest: str
) -> None:
    tables.take("a", [one for n in range(10, 40) for one in (event(n), event(n, minute=n % 3 + 1))])
    there = [(one["twap_id"], one["latest_ts"]) for one in ask(client, limit=1000, latest_per_twap=latest)["twaps"]]
    numbers = iter(range(100, 1000))

    def arrive() -> None:
        n = next(numbers)  # an end for an order that is there, a new order among the old, and one ahead of all
        tables.take(f"late-{n}", [event(n - 90, status="finished", minute=9), event(n, minute=-9), event(n)])

    found = [(one["twap_id"], one["latest_ts"]) for one in every_page(client, arrive, limit=7, latest_per_twap=latest)]

    assert found == there
    assert len(ask(client, limit=1000, latest_per_twap=latest)["twaps"]) > len(there)


@pytest.mark.fault("A2")
def test_pages_while_a_writer_never_stops(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [event(n, minute=n % 2) for n in range(1, 41)])
    there = [one["twap_id"] for one in ask(client, limit=1000)["twaps"]]
    first = ask(client, limit=8)
    done, written = threading.Event(), threading.Semaphore(0)

    def write() -> None:
        for n in itertools.takewhile(lambda _: not done.is_set(), itertools.count(1000)):
            tables.take(f"late-{n}", [event(n), event(n + 1000, minute=1), event(n + 2000, minute=-1)], refresh=False)
            written.release()

    writer = threading.Thread(target=write)
    writer.start()
    found, page = [one["twap_id"] for one in first["twaps"]], first
    try:
        while page["next_cursor"]:
            assert written.acquire(timeout=30)
            page = ask(client, limit=8, cursor=page["next_cursor"])
            found += [one["twap_id"] for one in page["twaps"]]
    finally:
        done.set()
        writer.join()

    assert found == there


@pytest.mark.fault("A2")
def test_an_event_that_is_replaced_meanwhile_is_not_lost(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [event(n, minute=n) for n in range(1, 11)])
    first = ask(client, limit=5)

    tables.take("b", [event(n, minute=n, status="terminated") for n in range(1, 11)], hours=1)
    second = ask(client, limit=5, cursor=first["next_cursor"])

    assert [one["twap_id"] for one in second["twaps"]] == ["5", "4", "3", "2", "1"]
    assert {one["status"] for one in second["twaps"]} == {"terminated"}
