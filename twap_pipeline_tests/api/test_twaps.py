"""The routes on a wallet's orders and on the history of an order: exact bodies, filters and pagination."""

import itertools
import threading
from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, Select, text

from twap_pipeline.api.queries import events
from twap_pipeline.ingest.deep_audit import deep_audit
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline_tests import mutants
from twap_pipeline_tests.api.serving import (
    Tables,
    encode_cursor,
    ended_order,
    get_json,
    list_all_twaps,
    list_twaps,
)
from twap_pipeline_tests.factories import NOON, WALLET, event
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.mutants import expect_failure
from twap_pipeline_tests.storage.statistics import set_empty_statistics


def listed_ids(client: httpx2.Client, **parameters: object) -> list[str]:
    return [item["twap_id"] for item in list_twaps(client, **parameters)["twaps"]]


def row_key(item: dict[str, Any], latest: str) -> tuple[str, ...]:
    """Return the key of an order or event in a list."""
    return (item["twap_id"],) if latest == "true" else (item["twap_id"], item["latest_ts"])


def test_twaps_page_has_exactly_the_documented_keys(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", ended_order(1))

    page = list_twaps(client, start="2025-08-20", end="2025-08-21T00:00:00+00:00")

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


def test_order_history_has_exactly_the_documented_keys(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", ended_order(1))

    history = get_json(client, "/twaps/1")

    assert list(history) == ["twap_id", "events", "next_cursor"]
    assert history["next_cursor"] is None
    assert [item["status"] for item in history["events"]] == ["activated", "finished"]
    keys = "wallet ts asset side size_requested size_executed notional_executed status duration_minutes raw"
    assert list(history["events"][0]) == keys.split()
    assert history["events"][0]["ts"] == "2025-08-20T12:00:00.123456Z"
    assert client.get("/api/v1/twaps/2").status_code == 404


@pytest.mark.fault("V3")
def test_order_history_decimals_and_raw_are_exact(client: httpx2.Client, tables: Tables) -> None:
    sixty_digits = "0." + "1234567890" * 6
    row = {**event(1), "state_sz": sixty_digits, "state_executedSz": "0.0000000000000000000000000000010", "extra": 0.1}
    tables.load("a", [{**row, "state_executedNtl": "123456789012345678901234567890.10"}])

    response = client.get("/api/v1/twaps/1")
    (item,) = response.json()["events"]

    assert item["size_requested"] == sixty_digits
    assert item["size_executed"] == "0.0000000000000000000000000000010"
    assert item["notional_executed"] == "123456789012345678901234567890.10"
    with tables.engine.connect() as connection:
        stored = connection.execute(text("SELECT raw_payload::text FROM twap_status")).scalar_one()
    assert stored in response.text


@pytest.mark.fault("V7")
@pytest.mark.parametrize("wallet", [WALLET.upper().replace("0X", "0x"), WALLET.upper(), WALLET])
def test_twaps_wallet_matches_in_any_case(client: httpx2.Client, tables: Tables, wallet: str) -> None:
    tables.load("a", [event(1)])

    page = get_json(client, "/twaps", wallet=wallet)

    assert (page["wallet"], len(page["twaps"])) == (WALLET, 1)


def test_twaps_range_is_half_open(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1), event(2, minute=1)])
    first = NOON + timedelta(microseconds=123456)

    assert listed_ids(client, start=first.isoformat(), end=(first + timedelta(minutes=1)).isoformat()) == ["1"]
    assert listed_ids(client, start=(first + timedelta(microseconds=1)).isoformat()) == ["2"]
    assert listed_ids(client, end=first.isoformat()) == []
    assert listed_ids(client, start=first.isoformat(), end=first.isoformat()) == []


def test_twaps_lists_orders_or_events(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [*ended_order(1), event(2, minute=5)])

    orders, all_events = list_twaps(client), list_twaps(client, latest_per_twap="false")

    assert [(item["twap_id"], item["status"]) for item in orders["twaps"]] == [("2", "activated"), ("1", "finished")]
    assert [(item["twap_id"], item["status"]) for item in all_events["twaps"]] == [
        ("1", "finished"), ("2", "activated"), ("1", "activated"),
    ]  # fmt: skip


def test_twaps_orders_are_sorted_by_numeric_id(client: httpx2.Client, tables: Tables) -> None:
    """As text, 9 is after 10, and 99 after 100."""
    tables.load("a", [event(twap_id) for twap_id in (9, 10, 99, 100, 2**62, 2**62 + 1)])

    assert listed_ids(client) == [str(2**62 + 1), str(2**62), "100", "99", "10", "9"]
    assert [item["twap_id"] for item in list_all_twaps(client, limit=1)] == listed_ids(client)


@pytest.mark.parametrize("latest", ["true", "false"])
def test_twaps_time_field_selects_event_start_or_end(client: httpx2.Client, tables: Tables, latest: str) -> None:
    tables.load("a", [*ended_order(1, minute=30), *ended_order(2, minute=90), event(3)])
    one_o_clock = NOON.replace(hour=13).isoformat()

    def ids(**parameters: object) -> list[str]:
        return sorted(set(listed_ids(client, latest_per_twap=latest, **parameters)))

    assert ids(start=one_o_clock) == ["2"]
    assert ids(time_field="ended", end=one_o_clock) == ["1"]
    assert ids(time_field="started", end=one_o_clock) == ["1", "2", "3"]
    assert ids(time_field="started", start=one_o_clock) == []


def test_twaps_range_shows_the_latest_event_in_it(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", ended_order(1, minute=90))

    (order,) = list_twaps(client, end=NOON.replace(hour=13).isoformat())["twaps"]

    assert (order["status"], order["executed"]["size"]) == ("activated", "0.0")


def test_twaps_asset_and_latest_status_filter(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [*ended_order(1), event(2, asset="@107"), event(3)])

    assert listed_ids(client, asset="@107") == ["2"]
    assert listed_ids(client, status="activated", asset="HYPE") == ["3"]
    assert listed_ids(client, status="finished") == ["1"]
    assert listed_ids(client, status="activated", asset="HYPE", latest_per_twap="false") == ["3", "1"]


def test_twaps_offset_and_limit(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(n, minute=n) for n in range(1, 6)])

    assert listed_ids(client, limit=2, offset=1) == ["4", "3"]
    assert listed_ids(client, limit=2, offset=1, latest_per_twap="false") == ["4", "3"]
    assert list_twaps(client, limit=5)["next_cursor"] is None
    assert list_twaps(client, limit=4)["next_cursor"] is not None


@pytest.mark.fault("A2")
@pytest.mark.parametrize("latest", ["true", "false"])
def test_pages_of_equal_times_have_no_gap_or_repeat(client: httpx2.Client, tables: Tables, latest: str) -> None:
    tables.load("a", [event(n) for n in range(1, 31)])

    ids = [item["twap_id"] for item in list_all_twaps(client, limit=4, latest_per_twap=latest)]

    assert sorted(ids, key=int) == [str(n) for n in range(1, 31)]


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
        refresh_orders(connection, tables.bucket.day)


_CHANGES = (_later_event, _overwrite, _reload_as_other_object, _rewrite_column, _rewrite_table, _repair)


@pytest.mark.fault("A2", "A7")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("latest", ["true", "false"])
def test_pages_during_changes_have_each_row_once(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, latest: str, seed: int
) -> None:
    """Loads, overwrites, reloads, rewrites and repairs between pages neither lose nor repeat a row of the first page.

    Pages end at their limit, at the limit of the scan, or at the limit of the body.
    """
    random = Random(seed)
    monkeypatch.setattr(events, "SCAN_EVENTS_MAX", (25_000, 7, 25_000)[seed])
    monkeypatch.setattr(events, "RESPONSE_BYTES_MAX", (8_000_000, 8_000_000, 2_000)[seed])
    numbers = itertools.count(100)
    tables.load("a", [row for n in range(10, 40) for row in (event(n), event(n, minute=n % 3 + 1))])
    before = Counter(row_key(item, latest) for item in list_all_twaps(client, latest_per_twap=latest))
    changes = itertools.cycle(random.sample(_CHANGES, len(_CHANGES)))

    def change() -> None:
        next(changes)(tables, next(numbers))

    limit = (random.randint(3, 4), 100, 100)[seed]
    items = list_all_twaps(client, change, limit=limit, latest_per_twap=latest, asset="HYPE")

    counts = Counter(row_key(item, latest) for item in items)
    assert len(before) == (30 if latest == "true" else 60)
    assert set(counts.values()) == {1}
    assert before.keys() <= counts.keys()


@pytest.mark.fault("A7", control=True)
def test_pages_by_latest_time_lose_orders(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    with expect_failure(mutants.orders_by_latest_time):
        test_pages_during_changes_have_each_row_once(client, tables, monkeypatch, "true", 0)


@pytest.mark.fault("A7")
@pytest.mark.parametrize("latest", ["true", "false"])
def test_order_of_reported_case_is_on_a_later_page(client: httpx2.Client, tables: Tables, latest: str) -> None:
    """An object replaces an event of another wallet and ends the order of a later page."""
    other = "0x" + "cd" * 20
    tables.load("a", [*[event(n, minute=n - 100) for n in (100, 101, 102)], event(103, wallet=other)])
    first = list_twaps(client, limit=1, latest_per_twap=latest)

    ending = event(100, status="finished", minute=40, executed="10")
    tables.load("b", [event(103, wallet=other, status="terminated"), ending], hours=1)
    later = list_all_twaps(client, limit=1, latest_per_twap=latest, cursor=first["next_cursor"])

    assert [item["twap_id"] for item in (*first["twaps"], *later)] == ["102", "101", "100"]


@pytest.mark.fault("A2")
@pytest.mark.parametrize("latest", ["true", "false"])
def test_pages_during_a_continuous_load_have_each_row_once(client: httpx2.Client, tables: Tables, latest: str) -> None:
    tables.load("a", [event(n, minute=n % 2) for n in range(1001, 1041)])
    before = set(listed_ids(client, limit=1000))
    done, written = threading.Event(), threading.Semaphore(0)

    def write() -> None:
        for n in itertools.takewhile(lambda _: not done.is_set(), itertools.count(1)):
            rows = [event(1000 + n % 40 + 1, status="finished", minute=n), event(n), event(n + 2000, minute=-1)]
            tables.load(f"late-{n}", rows, refresh=False)
            written.release()

    def wait_for_load() -> None:
        assert written.acquire(timeout=30)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        items = list_all_twaps(client, wait_for_load, limit=8, latest_per_twap=latest)
    finally:
        done.set()
        writer.join()

    counts = Counter(row_key(item, latest) for item in items)
    assert set(counts.values()) == {1}
    assert before <= {item["twap_id"] for item in items}


@pytest.mark.fault("A2")
def test_pages_show_replaced_events_with_new_values(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(n, minute=n) for n in range(1, 11)])
    first = list_twaps(client, limit=5)

    tables.load("b", [event(n, minute=n, status="terminated") for n in range(1, 11)], hours=1)
    second = list_twaps(client, limit=5, cursor=first["next_cursor"])

    assert [item["twap_id"] for item in second["twaps"]] == ["5", "4", "3", "2", "1"]
    assert {item["status"] for item in second["twaps"]} == {"terminated"}


@pytest.mark.fault("A2", control=True)
def test_pages_by_latest_time_would_lose_a_changed_order(engine: Engine, tables: Tables) -> None:
    """The key that this API does not use: an order that ends between two pages moves to a page already read."""
    tables.load("a", [event(n, minute=n) for n in range(1, 5)])
    statement = text(
        "SELECT twap_id FROM (SELECT twap_id, max(ts) AS ts FROM twap_status GROUP BY twap_id) AS latest"
        " WHERE ts < :after ORDER BY ts DESC LIMIT 2"
    )
    with engine.connect() as connection:
        first = connection.execute(statement, {"after": NOON + timedelta(days=1)}).scalars().all()
    tables.load("b", [event(1, status="finished", minute=50)])
    with engine.connect() as connection:
        second = connection.execute(statement, {"after": NOON + timedelta(minutes=3)}).scalars().all()

    assert (first, second) == (["4", "3"], ["2"])


@pytest.mark.fault("A9")
@pytest.mark.parametrize("latest", ["true", "false"])
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"asset": "NONE"}, []),
        ({"asset": "RARE"}, ["7"]),
        ({"status": "finished"}, ["8"]),
        ({"time_field": "ended", "start": "2025-08-20"}, ["8"]),
        ({"time_field": "started", "start": "2025-08-20", "end": "2025-08-20T12:00:01Z", "asset": "RARE"}, ["7"]),
        ({"time_field": "started", "end": "2025-08-20"}, []),
    ],
    ids=str,
)
def test_filtered_page_scans_a_bounded_number_of_events(
    client: httpx2.Client,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    *,
    latest: str,
    filters: dict[str, str],
    expected: list[str],
) -> None:
    """A page without a match does not read the whole wallet; the pages together contain every match."""
    monkeypatch.setattr(events, "SCAN_EVENTS_MAX", 10)
    rows = [event(n, minute=n, asset="RARE" if n == 7 else "HYPE") for n in range(1, 41)]
    tables.load("a", [*rows, event(8, status="finished", minute=9)])

    first = list_twaps(client, latest_per_twap=latest, **filters)
    items = list_all_twaps(client, lambda: None, latest_per_twap=latest, **filters)

    assert (first["twaps"], bool(first["next_cursor"])) == ([], True)
    assert [item["twap_id"] for item in items] == expected


@pytest.mark.fault("A9")
@pytest.mark.parametrize("latest", ["true", "false"])
def test_offset_that_the_scan_does_not_reach_is_400(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, latest: str
) -> None:
    monkeypatch.setattr(events, "SCAN_EVENTS_MAX", 10)
    tables.load("a", [event(n, minute=n) for n in range(1, 41)])
    query = {"wallet": WALLET, "latest_per_twap": latest, "asset": "HYPE"}

    refused = client.get("/api/v1/twaps", params={**query, "offset": "15"})

    assert (refused.status_code, refused.json()["title"]) == (400, "Offset too large")
    assert listed_ids(client, latest_per_twap=latest, asset="HYPE", offset=5, limit=2) == ["35", "34"]


@pytest.mark.fault("A9")
@pytest.mark.parametrize("path", ["twaps", "events", "history"])
def test_page_ends_before_its_body_is_too_large(
    client: httpx2.Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(events, "RESPONSE_BYTES_MAX", 4_000)
    padding = {"extra": "x" * 1_500}
    tables.load("a", [{**event(7 if path == "history" else n, minute=n), **padding} for n in range(1, 21)])
    query = {"wallet": WALLET, "latest_per_twap": str(path == "twaps").lower(), "limit": "1000"}
    url, parameters = ("/twaps/7", {}) if path == "history" else ("/twaps", query)

    pages: list[list[dict[str, Any]]] = []
    cursor = None
    while not pages or cursor:
        page = get_json(client, url, **parameters, **({"cursor": cursor} if cursor else {}))
        pages.append(page["events"] if path == "history" else page["twaps"])
        cursor = page["next_cursor"]

    assert {len(page) for page in pages} == {2}
    assert len({str(item) for page in pages for item in page}) == 20


@pytest.mark.fault("A9")
@pytest.mark.parametrize("content", ["random", "repeated", "nested"])
@pytest.mark.parametrize("path", [f"twaps?wallet={WALLET}&limit=1", "twaps/1"])
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

    response = client.get(f"/api/v1/{path}")

    body = response.json()
    (item,) = body.get("twaps") or body["events"]
    assert len(response.content) < 2_000
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
        page = get_json(client, "/twaps/7", limit=10, **({"cursor": cursor} if cursor else {}))
        assert len(page["events"]) == 10
        items += [(item["wallet"], item["ts"]) for item in page["events"]]
        cursor = page["next_cursor"]

    assert items == sorted(set(items))
    assert len(items) == 50
    beyond = encode_cursor({"wallet": "x", "ts": "2025-08-20T00:00:00Z"})
    assert get_json(client, "/twaps/7", cursor=beyond)["events"] == []


@pytest.mark.fault("A9")
@pytest.mark.parametrize(
    "statement",
    [
        events.wallet_orders(events.EventFilter(WALLET), after=None, limit=100),
        events.wallet_orders(events.EventFilter(WALLET, NOON, None, "started"), after="7", limit=100),
        events.wallet_events(events.EventFilter(WALLET, asset="X"), after=(NOON, "7"), limit=100),
        events.order_events("7", after=None, limit=100),
    ],
    ids=["orders", "started", "events", "history"],
)
def test_page_plan_with_empty_statistics_uses_keys(tables: Tables, statement: Select[Any]) -> None:
    """With the statistics of an empty table, PostgreSQL may join by any index: then each row reads the whole table."""
    tables.load("a", [event(n) for n in range(50)])
    set_empty_statistics(tables.engine)
    with tables.engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))  # as for a table that is too large to scan
        sql = statement.compile(connection, compile_kwargs={"literal_binds": True})
        plan = list(connection.exec_driver_sql(f"EXPLAIN {sql}".replace("%", "%%")).scalars())

    scans = [index for index, line in enumerate(plan) if "on twap_status" in line]  # the first is the page's range
    assert len(scans) >= 3
    assert all("Index Cond" in plan[index + 1] for index in scans[1:]), "\n".join(plan)
