"""Pages of orders and events: changes between pages, bounds of a page, and plans of the statements."""

import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import httpx2
import pytest
from sqlalchemy import Select, text

from twap_pipeline.api.queries import events, order_list
from twap_pipeline.api.queries.order_list import OrderFilter
from twap_pipeline.ingest.deep_audit import deep_audit
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import dates_pending_refresh, refresh_orders
from twap_pipeline_tests import mutants
from twap_pipeline_tests.api.serving import OTHER, Tables, ended_order, get_json, list_all, listed_ids
from twap_pipeline_tests.factories import NOON, WALLET, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.mutants import expect_failure
from twap_pipeline_tests.storage.statistics import set_empty_statistics

_IDS = range(10, 31)
"""Orders of the first page."""


def _later_event(tables: Tables, n: int) -> None:
    """An order of the first page gets a terminal event; new orders appear before, between and after."""
    rows = [event(10 + n % 21, status="finished", minute=9), event(n, minute=-9), event(n + 1000), event(n % 9 + 1)]
    tables.load(f"late-{n}", rows)


def _overwrite(tables: Tables, n: int) -> None:
    """The object of all orders is replaced by other bytes, which change stored events."""
    tables.load("a", [event(twap_id, executed=str(n)) for twap_id in _IDS], hours=n)


def _reload_as_other_object(tables: Tables, n: int) -> None:
    """A newer object contains the same keys, with a status that replaces the stored events."""
    tables.load(f"b-{n}", [event(twap_id, status="terminated") for twap_id in _IDS], hours=n)


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
        assert connection.execute(text(edit), {"twap_id": str(10 + n % 21)}).rowcount
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
@pytest.mark.parametrize(
    ("path", "seed"), [("/orders", 0), ("/orders", 1), ("/events", 0), ("/events", 1), ("/events", 2)]
)
def test_pages_during_changes_have_each_row_once(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, path: str, seed: int
) -> None:
    """Loads, overwrites, reloads, rewrites and repairs between pages neither lose nor repeat a row of the first page.

    Pages end at their limit, at the limit of the scan, or at the limit of the body.
    """
    random = Random(seed)
    monkeypatch.setattr(events, "SCAN_EVENTS_MAX", (25_000, 7, 25_000)[seed])
    monkeypatch.setattr(order_list, "SCAN_ORDERS_MAX", (25_000, 8, 25_000)[seed])
    monkeypatch.setattr(events, "PAGE_RAW_BYTES_MAX", (8_000_000, 8_000_000, 2_000)[seed])
    numbers = itertools.count(100)
    tables.load("a", [row for n in _IDS for row in (event(n), event(n, minute=n % 3 + 1))])
    before = Counter(map(row_key, list_all(client, path)))
    changes = itertools.cycle(random.sample(_CHANGES, len(_CHANGES)))

    def change() -> None:
        next(changes)(tables, next(numbers))

    limit = 100 if seed else 3 if path == "/orders" else 6
    wallets = {"wallet": [WALLET, OTHER]} if path == "/orders" and seed else {}
    items = list_all(client, path, change, limit=limit, asset="HYPE", **wallets)

    counts = Counter(map(row_key, items))
    assert len(before) == (21 if path == "/orders" else 42)
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


@pytest.fixture(scope="module")
def forty_orders(shared_tables: Tables, shared_client: httpx2.Client) -> httpx2.Client:
    """Orders 1 to 40, every fourth of `OTHER`, the others of `WALLET`; only 8 and 6 have ended."""
    rows = [event(n, minute=n, wallet=WALLET if n % 4 else OTHER) for n in range(1, 41)]
    ends = [event(n, status="finished", minute=9, wallet=wallet) for n, wallet in ((6, WALLET), (8, OTHER))]
    shared_tables.load("a", [*rows, *ends])
    return shared_client


@pytest.mark.fault("A9")
@pytest.mark.parametrize("wallets", [[], [WALLET], [WALLET, OTHER, "0x" + "0" * 40]], ids=len)
@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ({"status": "finished"}, [8, 6]),
        ({"side": "A"}, []),
        ({"sort": "ended"}, [8, 6]),
        ({"min_notional": "0"}, range(40, 0, -1)),
    ],
    ids=str,
)
def test_filtered_page_reads_a_bounded_number_of_orders(
    forty_orders: httpx2.Client,
    monkeypatch: pytest.MonkeyPatch,
    *,
    wallets: list[str],
    filters: dict[str, Any],
    matches: Sequence[int],
) -> None:
    """A page without a match does not read the whole table; the pages together contain every match."""
    monkeypatch.setattr(order_list, "SCAN_ORDERS_MAX", 10)

    first = get_json(forty_orders, "/orders", wallet=wallets, **filters)
    items = list_all(forty_orders, "/orders", wallet=wallets, **filters)

    assert [item["twap_id"] for item in items] == [str(n) for n in matches if n % 4 or wallets != [WALLET]]
    assert len(first["orders"]) <= 10
    assert first["next_cursor"] or filters == {"sort": "ended"}


@pytest.mark.fault("A9")
@pytest.mark.parametrize("limit", [2, 100])
def test_pages_of_orders_that_end_together_have_each_once(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """A page that reads more orders than its bound, because they ended at one time, is followed by the next time."""
    monkeypatch.setattr(order_list, "SCAN_ORDERS_MAX", 3)
    minutes = [1, 2, 2, 2, 2, 2, 3, 4]
    tables.load("a", [row for n, minute in enumerate(minutes) for row in ended_order(n, minute)])

    items = list_all(client, "/orders", sort="ended", limit=limit)

    assert [item["twap_id"] for item in items] == ["7", "6", "5", "4", "3", "2", "1", "0"]


@pytest.mark.fault("A9")
@pytest.mark.parametrize("path", ["/events", "/orders/7"])
def test_page_ends_before_its_body_is_too_large(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(events, "PAGE_RAW_BYTES_MAX", 3_500)
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


_FILTER = OrderFilter
_NEXT_NOON = NOON + timedelta(days=1)


@pytest.mark.fault("A9")
@pytest.mark.parametrize(
    "page",
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
@pytest.mark.usefixtures("forty_orders")
def test_page_plan_with_empty_statistics_uses_keys(
    shared_tables: Tables, page: tuple[Select[Any], dict[str, Any]]
) -> None:
    """With the statistics of an empty table, PostgreSQL may join by any index: then each row reads the whole table."""
    set_empty_statistics(shared_tables.engine)
    with shared_tables.engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))  # as for a table that is too large to scan
        statement, parameters = page
        sql = statement.params(parameters).compile(connection, compile_kwargs={"literal_binds": True})
        plan = list(connection.exec_driver_sql(f"EXPLAIN {sql}".replace("%", "%%")).scalars())

    scans = [line.strip() for line in plan if " on twap_" in line]
    assert len(scans) >= 1
    assert not [line for line in scans if "Seq Scan" in line], "\n".join(plan)


@pytest.mark.parametrize(
    ("first", "second", "other"),
    [
        (_FILTER(asset="X"), _FILTER(asset="Y"), _FILTER(side="B")),
        (_FILTER((WALLET,), start=NOON), _FILTER((OTHER, WALLET), start=_NEXT_NOON), _FILTER((WALLET,), end=NOON)),
    ],
    ids=["filter", "range"],
)
def test_orders_statement_of_other_values_is_the_same(
    first: OrderFilter, second: OrderFilter, other: OrderFilter
) -> None:
    """To build a statement takes longer than to execute it."""
    statements = [
        order_list.order_page(selection, sort="twap_id", after=None, limit=limit)[0]
        for selection, limit in ((first, 10), (second, 20), (other, 10))
    ]

    assert statements[1] is statements[0]
    assert statements[2] is not statements[0]


def test_events_statement_of_other_values_is_the_same() -> None:
    pages = [
        events.event_page(events.EventFilter(wallet, asset=asset), after=None, limit=10)[0]
        for wallet, asset in ((WALLET, "X"), (OTHER, "Y"), (None, "X"))
    ]

    assert pages[1] is pages[0]
    assert pages[2] is not pages[0]
