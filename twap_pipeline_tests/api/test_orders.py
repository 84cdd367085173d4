"""The routes on orders of ``/api/v2``: exact bodies, filters, sort keys and pagination."""

import itertools
import threading
from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any

import httpx2
import pytest
from sqlalchemy import Select, text

from twap_pipeline.api.queries import events, order_list
from twap_pipeline.ingest.deep_audit import deep_audit
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline_tests import mutants
from twap_pipeline_tests.api.serving import Tables, encode_cursor, ended_order, get_json, list_all
from twap_pipeline_tests.factories import NOON, WALLET, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.mutants import expect_failure
from twap_pipeline_tests.storage.statistics import set_empty_statistics

OTHER = "0x" + "cd" * 20


def listed_ids(client: httpx2.Client, **parameters: Any) -> list[str]:
    return [item["twap_id"] for item in get_json(client, "/orders", **parameters)["orders"]]


def executed_order(
    twap_id: int, notional: str, minute: int = 30, *, side: str = "B", **fields: Any
) -> list[dict[str, object]]:
    first, last = ended_order(twap_id, minute, **fields)
    return [{**first, "state_side": side}, {**last, "state_side": side, "state_executedNtl": notional}]


def test_orders_page_has_exactly_the_documented_keys(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", executed_order(1, "0.03612"))

    page = get_json(client, "/orders")

    (order,) = page["orders"]
    assert list(page) == ["orders", "next_cursor"]
    assert order == {
        "twap_id": "1",
        "wallet": WALLET,
        "asset": "HYPE",
        "symbol": "HYPE",
        "market": "perp",
        "side": "B",
        "status": "finished",
        "status_error": None,
        "size_requested": "10",
        "size_executed": "10",
        "notional_executed": "0.03612",
        "average_price": "0.003612",
        "is_underfilled": False,
        "started_at": "2025-08-20T12:00:00.000000Z",
        "ended_at": "2025-08-20T12:30:00.123456Z",
        "last_status_at": "2025-08-20T12:30:00.123456Z",
        "duration_minutes": 30,
        "reduce_only": False,
        "randomize": True,
        "event_count": 2,
        "first_object_key": "a",
        "last_object_key": "a",
    }


@pytest.mark.parametrize(
    ("notional", "price"),
    [
        ("0.0000000123456789012345", "0.000000001234567890"),
        ("12345678901234567890", "1234567890000000000"),
        ("30", "3"),
        ("0", "0"),
        ("1", "0.1"),
    ],
)
def test_average_price_has_ten_significant_digits(
    client: httpx2.Client, tables: Tables, notional: str, price: str
) -> None:
    tables.load("a", executed_order(1, notional))

    (order,) = get_json(client, "/orders")["orders"]
    (_, terminal) = get_json(client, "/orders/1")["events"]
    (total,) = get_json(client, f"/wallets/{WALLET}/summary")["by_asset"]

    expected = price.rstrip("0") if "." in price else price
    assert {order["average_price"], terminal["average_price"], total["average_price"]} == {expected}


def test_order_has_exactly_the_documented_keys(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1, asset="@107"), event(1, asset="@107", status='{"error":"No margin."}', minute=1)])

    body = get_json(client, "/orders/1")

    assert list(body) == ["twap_id", "orders", "events", "next_cursor"]
    assert body["next_cursor"] is None
    (order,) = body["orders"]
    assert (order["status"], order["status_error"], order["market"]) == ("error", "No margin.", "spot")
    first, last = body["events"]
    raw = last.pop("raw")
    assert last == {
        "twap_id": "1",
        "wallet": WALLET,
        "ts": "2025-08-20T12:01:00.123456Z",
        "asset": "@107",
        "symbol": "HYPE/USDC",
        "market": "spot",
        "side": "B",
        "status": "error",
        "status_error": "No margin.",
        "size_requested": "10",
        "size_executed": "0.0",
        "notional_executed": "0.0",
        "average_price": None,
        "started_at": "2025-08-20T12:00:00.000000Z",
        "duration_minutes": 30,
        "reduce_only": False,
        "randomize": True,
        "object_key": "a",
    }
    assert raw["status"] == '{"error":"No margin."}'
    assert first["status"] == "activated"
    assert client.get("/api/v2/orders/2").status_code == 404


def test_order_without_refresh_has_events_only(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1)], refresh=False)

    body = get_json(client, "/orders/1")

    assert (body["orders"], len(body["events"])) == ([], 1)


@pytest.mark.fault("V3")
def test_order_decimals_and_raw_are_exact(client: httpx2.Client, tables: Tables) -> None:
    sixty_digits = "0." + "1234567890" * 6
    row = {**event(1), "state_sz": sixty_digits, "state_executedSz": "0.0000000000000000000000000000010", "extra": 0.1}
    tables.load("a", [{**row, "state_executedNtl": "123456789012345678901234567890.10"}])

    response = client.get("/api/v2/orders/1")

    for item in (response.json()["events"][0], response.json()["orders"][0]):
        assert item["size_requested"] == sixty_digits
        assert item["size_executed"] == "0.0000000000000000000000000000010"
        assert item["notional_executed"] == "123456789012345678901234567890.10"
    with tables.engine.connect() as connection:
        stored = connection.execute(text("SELECT raw_payload::text FROM twap_status")).scalar_one()
    assert stored in response.text


@pytest.fixture
def varied(tables: Tables) -> Tables:
    """Orders 1 to 5 of two wallets: started at noon, ended at 12:10, 12:50, never, 12:30 and 12:40."""
    rows = [
        *executed_order(1, "100", 10, asset="BTC"),
        *executed_order(2, "9.5", 50, asset="@107", side="A"),
        event(3, asset="PURR/USDC", wallet=OTHER),
        *executed_order(4, "2000", 30, asset="BTC", wallet=OTHER),
        *executed_order(5, "300", 40, asset="xyz:NVDA"),
    ]
    tables.load("a", rows)
    return tables


@pytest.mark.usefixtures("varied")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "54321"),
        ({"wallet": WALLET}, "521"),
        ({"wallet": WALLET.upper()}, "521"),
        ({"wallet": [OTHER, WALLET, OTHER]}, "54321"),
        ({"wallet": "0x" + "0" * 40}, ""),
        ({"asset": "BTC"}, "41"),
        ({"asset": "BTC", "wallet": WALLET}, "1"),
        ({"side": "A"}, "2"),
        ({"status": "activated"}, "3"),
        ({"market": "spot"}, "32"),
        ({"market": "perp"}, "541"),
        ({"market": "perp", "wallet": [OTHER]}, "4"),
        ({"min_notional": "100"}, "541"),
        ({"min_notional": "100.01"}, "54"),
        ({"start": "2025-08-20", "end": "2025-08-21"}, "54321"),
        ({"start": "2025-08-20T12:00:00.000001Z", "end": "2025-08-21"}, ""),
        ({"start": "2025-08-19", "end": "2025-08-20T12:00:00Z"}, ""),
        ({"time_field": "ended", "start": "2025-08-20T12:30:00Z", "end": "2025-08-20T12:41:00Z"}, "54"),
        ({"time_field": "ended", "end": "2025-08-20T12:41:00Z", "wallet": [WALLET]}, "51"),
        ({"time_field": "updated", "start": "2025-08-20T12:00:00Z", "end": "2025-08-20T12:11:00Z"}, "31"),
        ({"sort": "ended"}, "2541"),
        ({"sort": "ended", "wallet": [WALLET]}, "251"),
        ({"sort": "ended", "asset": "BTC"}, "41"),
        ({"sort": "ended", "time_field": "updated", "start": "2025-08-20T12:31:00Z"}, "25"),
        ({"sort": "ended", "start": "2025-08-20", "end": "2025-08-21"}, "2541"),
        ({"sort": "notional", "start": "2025-08-20", "end": "2025-08-21"}, "45123"),
        ({"sort": "notional", "start": "2025-08-20", "end": "2025-08-21", "wallet": WALLET}, "512"),
    ],
    ids=str,
)
def test_orders_filter_and_sort_select_orders(client: httpx2.Client, filters: dict[str, Any], expected: str) -> None:
    """One page and pages of one order contain the same orders in the same order."""
    assert "".join(listed_ids(client, **filters)) == expected
    assert "".join(item["twap_id"] for item in list_all(client, "/orders", limit=1, **filters)) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"start": "2025-08-20"},
        {"end": "2025-08-20"},
        {"start": "2025-01-01", "end": "2025-03-01"},
        {"sort": "notional"},
        {"sort": "notional", "wallet": WALLET},
        {"sort": "ended", "start": "2025-08-20"},
    ],
    ids=str,
)
def test_orders_unbounded_range_is_400(idle_client: httpx2.Client, query: dict[str, str]) -> None:
    refused = idle_client.get("/api/v2/orders", params=query)

    assert (refused.status_code, refused.json()["title"]) == (400, "Range too long")
    assert "31 days" in refused.json()["detail"]


def test_orders_more_than_fifty_wallets_is_422(idle_client: httpx2.Client) -> None:
    wallets = [f"0x{n:040x}" for n in range(51)]

    assert idle_client.get("/api/v2/orders", params={"wallet": wallets[:50]}).json()["orders"] == []
    assert idle_client.get("/api/v2/orders", params={"wallet": wallets}).status_code == 422
    assert idle_client.get("/api/v2/orders", params={"wallet": ["0x1", wallets[0]]}).status_code == 422


def test_orders_are_sorted_by_numeric_id(client: httpx2.Client, tables: Tables) -> None:
    """As text, 9 is after 10, and 99 after 100."""
    tables.load("a", [event(twap_id) for twap_id in (9, 10, 99, 100, 2**62, 2**62 + 1)])

    assert listed_ids(client) == [str(2**62 + 1), str(2**62), "100", "99", "10", "9"]
    assert [item["twap_id"] for item in list_all(client, "/orders", limit=1)] == listed_ids(client)


def _later_event(tables: Tables, n: int) -> None:
    """An order of the first page gets a terminal event; new orders appear before, between and after."""
    rows = [event(10 + n % 30, status="finished", minute=9), event(n, minute=-9), event(n + 1000), event(n % 9 + 1)]
    tables.load(f"late-{n}", rows)


def _overwrite(tables: Tables, n: int) -> None:
    """The object of all orders is replaced by other bytes, which change stored events."""
    tables.load("a", [event(twap_id, executed=str(n)) for twap_id in range(10, 40)], hours=n)


def _reload_as_other_object(tables: Tables, n: int) -> None:
    """A newer object contains the same keys, with a status that replaces the stored events."""
    tables.load(f"b-{n}", [event(twap_id, status="terminated") for twap_id in range(10, 40)], hours=n)


def _rewrite_column(tables: Tables, n: int) -> None:
    """A migration rewrites all rows: each gets a new xmin and a new place in the table."""
    with tables.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE twap_status ADD COLUMN added_{n} BIGINT DEFAULT random() * 1000"))
        connection.execute(text("UPDATE twap_status SET inserted_at = now() + interval '1 day'"))
        connection.execute(text("UPDATE twap_orders SET refreshed_at = now() + interval '1 day'"))


def _rewrite_table(tables: Tables, _n: int) -> None:
    with tables.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM FULL twap_status, twap_orders"))


def _repair(tables: Tables, n: int) -> None:
    """A deep audit deletes edited events; the next ingestion loads them again."""
    with tables.engine.begin() as connection:
        edit = "UPDATE twap_status SET duration_minutes = 31 WHERE twap_id = :twap_id"
        assert connection.execute(text(edit), {"twap_id": str(10 + n % 30)}).rowcount
    store = LocalDirectory(tables.bucket.directory)
    assert deep_audit(store, tables.engine, list(store.list_objects()), requeue=True).repair
    ingest_everything(store, tables.engine)
    with tables.engine.begin() as connection:
        for day in dates_pending_refresh(connection):
            refresh_orders(connection, day)


_CHANGES = (_later_event, _overwrite, _reload_as_other_object, _rewrite_column, _rewrite_table, _repair)


def row_key(item: dict[str, Any]) -> tuple[str, str]:
    """Return the key of an order or event in a list."""
    return item["twap_id"], item.get("ts", "")


@pytest.mark.fault("A2", "A7")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("path", ["/orders", "/events"])
def test_pages_during_changes_have_each_row_once(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, path: str, seed: int
) -> None:
    """Loads, overwrites, reloads, rewrites and repairs between pages neither lose nor repeat a row of the first page.

    Pages end at their limit, at the limit of the scan, or at the limit of the body.
    """
    random = Random(seed)
    monkeypatch.setattr(events, "SCAN_EVENTS_MAX", (25_000, 7, 25_000)[seed])
    monkeypatch.setattr(order_list, "SCAN_ORDERS_MAX", (25_000, 14, 25_000)[seed])
    monkeypatch.setattr(events, "RESPONSE_BYTES_MAX", (8_000_000, 8_000_000, 2_000)[seed])
    numbers = itertools.count(100)
    tables.load("a", [row for n in range(10, 40) for row in (event(n), event(n, minute=n % 3 + 1))])
    before = Counter(map(row_key, list_all(client, path)))
    changes = itertools.cycle(random.sample(_CHANGES, len(_CHANGES)))

    def change() -> None:
        next(changes)(tables, next(numbers))

    limit = (random.randint(3, 4), 100, 100 if path == "/events" else 8)[seed]
    wallets = {"wallet": [WALLET, OTHER]} if path == "/orders" and seed else {}
    items = list_all(client, path, change, limit=limit, asset="HYPE", **wallets)

    counts = Counter(map(row_key, items))
    assert len(before) == (30 if path == "/orders" else 60)
    assert set(counts.values()) == {1}
    assert before.keys() <= counts.keys()


@pytest.mark.fault("A7", control=True)
def test_pages_by_latest_time_lose_orders(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    with expect_failure(mutants.orders_by_latest_time):
        test_pages_during_changes_have_each_row_once(client, tables, monkeypatch, "/orders", 0)


@pytest.mark.fault("A7")
def test_order_of_reported_case_is_on_a_later_page(client: httpx2.Client, tables: Tables) -> None:
    """An object replaces an event of another wallet and ends the order of a later page."""
    tables.load("a", [*[event(n, minute=n - 100) for n in (100, 101, 102)], event(103, wallet=OTHER)])
    first = get_json(client, "/orders", limit=1, wallet=WALLET)

    ending = event(100, status="finished", minute=40, executed="10")
    tables.load("b", [event(103, wallet=OTHER, status="terminated"), ending], hours=1)
    later = list_all(client, "/orders", limit=1, wallet=WALLET, cursor=first["next_cursor"])

    assert [item["twap_id"] for item in (*first["orders"], *later)] == ["102", "101", "100"]


@pytest.mark.fault("A2")
def test_pages_during_a_continuous_load_have_each_row_once(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(n, minute=n % 2) for n in range(1001, 1041)])
    before = set(listed_ids(client, limit=1000))
    done, written = threading.Event(), threading.Semaphore(0)

    def write() -> None:
        for n in itertools.takewhile(lambda _: not done.is_set(), itertools.count(1)):
            rows = [event(1000 + n % 40 + 1, status="finished", minute=n), event(n), event(n + 2000, minute=-1)]
            tables.load(f"late-{n}", rows)
            written.release()

    def wait_for_load() -> None:
        assert written.acquire(timeout=30)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        items = list_all(client, "/orders", wait_for_load, limit=8)
    finally:
        done.set()
        writer.join()

    counts = Counter(item["twap_id"] for item in items)
    assert set(counts.values()) == {1}
    assert before <= counts.keys()


@pytest.mark.fault("A2")
def test_pages_show_changed_orders_with_new_values(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(n, minute=n) for n in range(1, 11)])
    first = get_json(client, "/orders", limit=5)

    tables.load("b", [event(n, minute=n, status="terminated") for n in range(1, 11)], hours=1)
    second = get_json(client, "/orders", limit=5, cursor=first["next_cursor"])

    assert [item["twap_id"] for item in second["orders"]] == ["5", "4", "3", "2", "1"]
    assert {item["status"] for item in second["orders"]} == {"terminated"}


@pytest.mark.fault("A9")
@pytest.mark.parametrize("wallets", [[], [WALLET], [WALLET, OTHER, "0x" + "0" * 40]], ids=len)
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"status": "finished"}, ["8"]),
        ({"side": "A"}, []),
        ({"sort": "ended"}, ["8"]),
        ({"min_notional": "0"}, [str(n) for n in range(40, 0, -1)]),
    ],
    ids=str,
)
def test_filtered_page_reads_a_bounded_number_of_orders(
    client: httpx2.Client,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    *,
    wallets: list[str],
    filters: dict[str, Any],
    expected: list[str],
) -> None:
    """A page without a match does not read the whole table; the pages together contain every match."""
    monkeypatch.setattr(order_list, "SCAN_ORDERS_MAX", 10)
    rows = [event(n, minute=n, wallet=OTHER if wallets[1:] and n % 4 == 0 else WALLET) for n in range(1, 41)]
    end = event(8, status="finished", minute=9, wallet=OTHER if wallets[1:] else WALLET)
    tables.load("a", [*rows, end])

    first = get_json(client, "/orders", wallet=wallets, **filters)
    items = list_all(client, "/orders", wallet=wallets, **filters)

    assert [item["twap_id"] for item in items] == expected
    assert len(first["orders"]) <= 10
    assert first["next_cursor"] or filters == {"sort": "ended"}


@pytest.mark.fault("A9")
@pytest.mark.parametrize("path", ["/events", "/orders/7"])
def test_page_ends_before_its_body_is_too_large(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(events, "RESPONSE_BYTES_MAX", 4_000)
    padding = {"extra": "x" * 1_500}
    tables.load("a", [{**event(n if path == "/events" else 7, minute=n), **padding} for n in range(1, 21)])

    pages: list[list[dict[str, Any]]] = []
    page = get_json(client, path, limit=1000)
    while page["events"]:
        pages.append(page["events"])
        if not page["next_cursor"]:
            break
        page = get_json(client, path, limit=1000, cursor=page["next_cursor"])

    assert {len(items) for items in pages} == {2}
    assert len({str(item) for items in pages for item in items}) == 20


@pytest.mark.fault("A9")
@pytest.mark.parametrize("content", ["random", "repeated", "nested"])
@pytest.mark.parametrize("path", ["events?limit=1", "orders/1"])
def test_large_raw_is_replaced_by_the_query_that_reads_it(
    client: httpx2.Client, tables: Tables, content: str, path: str
) -> None:
    """The stored size of a repeated text is below the limit, because PostgreSQL compresses it."""
    tables.load("a", [event(1)])
    large = {
        "random": "SELECT json_build_object('x', string_agg(md5(random()::text), '')) FROM generate_series(1, 60000)",
        "repeated": "SELECT json_build_object('x', repeat('a', 3000000))",
        "nested": "SELECT json_agg(json_build_object('n', n)) FROM generate_series(1, 200000) AS n",
    }
    with tables.engine.begin() as connection:
        connection.execute(text(f"UPDATE twap_status SET raw_payload = ({large[content]})"))

    response = client.get(f"/api/v2/{path}")

    (item,) = response.json()["events"]
    assert len(response.content) < 3_000
    omitted = item["raw"]["raw_payload_omitted"]
    assert omitted["maximum_bytes"] == 1_000_000
    with tables.engine.connect() as connection:
        (stored,) = connection.execute(text(omitted["sql"].replace(":", r"\:"))).one()
    assert len(str(stored)) > 1_000_000


@pytest.mark.fault("A9")
def test_order_history_is_paged(client: httpx2.Client, tables: Tables) -> None:
    other = "0x" + "ff" * 20
    rows = [event(7, minute=minute, wallet=wallet) for wallet in (WALLET, other) for minute in range(25)]
    tables.load("a", rows)

    items: list[tuple[str, str]] = []
    cursor = None
    while not items or cursor:
        page = get_json(client, "/orders/7", limit=10, **({"cursor": cursor} if cursor else {}))
        assert (len(page["orders"]), len(page["events"])) == (2, 10)
        items += [(item["wallet"], item["ts"]) for item in page["events"]]
        cursor = page["next_cursor"]

    assert items == sorted(set(items))
    assert len(items) == 50
    beyond = encode_cursor({"wallet": "x", "ts": "2025-08-20T00:00:00Z"})
    assert get_json(client, "/orders/7", cursor=beyond)["events"] == []


def test_events_follow_the_feed_with_one_cursor(client: httpx2.Client, tables: Tables) -> None:
    assert get_json(client, "/events") == {"events": [], "next_cursor": None, "has_more": False}
    tables.load("a", [event(2, minute=5), *ended_order(1, minute=9), event(3, minute=5, wallet=OTHER)])

    first = get_json(client, "/events", limit=3)
    last = get_json(client, "/events", limit=3, cursor=first["next_cursor"])
    waiting = get_json(client, "/events", limit=3, cursor=last["next_cursor"])
    tables.load("b", [event(4, minute=10)])
    later = get_json(client, "/events", limit=3, cursor=waiting["next_cursor"])

    assert [(item["twap_id"], item["status"]) for item in (*first["events"], *last["events"])] == [
        ("1", "activated"), ("2", "activated"), ("3", "activated"), ("1", "finished"),
    ]  # fmt: skip
    assert [page["has_more"] for page in (first, last, waiting, later)] == [True, False, False, False]
    assert (waiting["events"], waiting["next_cursor"]) == ([], last["next_cursor"])
    assert [item["twap_id"] for item in later["events"]] == ["4"]


@pytest.mark.usefixtures("varied")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"wallet": OTHER.upper()}, "344"),
        ({"asset": "BTC"}, "1414"),
        ({"status": "finished"}, "1452"),
        ({"side": "A", "status": "activated"}, "2"),
        ({"start": "2025-08-20T12:30:00.123456Z", "end": "2025-08-20T12:50:00.123456Z"}, "45"),
    ],
    ids=str,
)
def test_events_filters_select_events(client: httpx2.Client, filters: dict[str, Any], expected: str) -> None:
    assert "".join(item["twap_id"] for item in list_all(client, "/events", limit=1, **filters)) == expected


_FILTER = order_list.OrderFilter
_NEXT_NOON = NOON + timedelta(days=1)


@pytest.mark.fault("A9")
@pytest.mark.parametrize(
    "statement",
    [
        order_list.order_page(_FILTER(), sort="twap_id", after=(1, "7", "x"), limit=100),
        order_list.order_page(_FILTER(asset="X", side="B"), sort="twap_id", after=None, limit=100),
        order_list.order_page(_FILTER((WALLET, OTHER), "X"), sort="twap_id", after=(1, "7", "x"), limit=100),
        order_list.order_page(_FILTER((WALLET,), start=NOON, end=_NEXT_NOON), sort="twap_id", after=None, limit=100),
        order_list.order_page(_FILTER(start=NOON, end=_NEXT_NOON), sort="notional", after=None, limit=100),
        order_list.order_page(
            _FILTER(time_field="ended", start=NOON, end=_NEXT_NOON), sort="twap_id", after=None, limit=100
        ),
        order_list.order_page(_FILTER(), sort="ended", after=(NOON, 1, "7", "x"), limit=100),
        events.event_page(events.EventFilter(), after=(NOON, "7", "x"), limit=100),
        events.event_page(events.EventFilter(WALLET, asset="X"), after=None, limit=100),
        events.order_events("7", after=None, limit=100),
    ],
    ids=["orders", "asset", "wallets", "wallet_range", "notional", "range", "ended", "events", "wallet", "history"],
)
def test_page_plan_with_empty_statistics_uses_keys(tables: Tables, statement: Select[Any]) -> None:
    """With the statistics of an empty table, PostgreSQL may join by any index: then each row reads the whole table."""
    tables.load("a", [event(n) for n in range(50)])
    set_empty_statistics(tables.engine)
    with tables.engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))  # as for a table that is too large to scan
        sql = statement.compile(connection, compile_kwargs={"literal_binds": True})
        plan = list(connection.exec_driver_sql(f"EXPLAIN {sql}".replace("%", "%%")).scalars())

    scans = [line.strip() for line in plan if " on twap_" in line]
    assert len(scans) >= 1
    assert not [line for line in scans if "Seq Scan" in line], "\n".join(plan)
