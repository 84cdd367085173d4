"""Exports: exact values, protection from formulas, streaming, and detectable failures."""

import csv
import io
import socket
import unicodedata
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from twap_pipeline.api import create_app
from twap_pipeline.api.routes import exports as route
from twap_pipeline.exports.csv_format import escape_formula, to_csv_bytes
from twap_pipeline.exports.export import ExportRequest
from twap_pipeline.exports.formats import FORMATS
from twap_pipeline.exports.rows import ORDER_COLUMNS
from twap_pipeline_tests.api.serving import Tables, eventually, make_settings, serving
from twap_pipeline_tests.factories import WALLET, event
from twap_pipeline_tests.fill_rows import fill, insert_fills

MANY_ORDERS = 10_000
"""About 22 MB of CSV, because the keys are long: more than the socket buffers, in more chunks than these hold."""

IDENTITY = {"Accept-Encoding": "identity"}
"""Without compression, the file is larger than the socket buffers."""

PATH = f"/api/v2/wallets/{WALLET}/exports"


def order(**fields: object) -> list[object]:
    """Return a row of `rows.select_rows`."""
    ended_at = datetime(2025, 8, 20, 12, 30, 0, 123456, tzinfo=UTC)
    defaults: dict[str, object] = {
        **dict.fromkeys(ORDER_COLUMNS),
        "twap_id": "7",
        "wallet": WALLET,
        "asset": "BTC",
        "side": "B",
        "status": "finished",
        "last_status_at": ended_at,
        "size_executed": "0.5",
        "notional_executed": "60000.10",
    }
    return list({**defaults, **fields}.values())


def write_text(name: str, *rows: list[object]) -> str:
    """Return the file of a format with these rows, as text."""
    writer = FORMATS[name].make_writer()
    return (writer.begin() + writer.rows(rows) + writer.end()).decode()


@pytest.fixture(scope="module")
def many_orders(shared_tables: Tables) -> Engine:
    """An engine on tables with `MANY_ORDERS` orders of one wallet."""
    with shared_tables.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO twap_orders (twap_id, wallet, asset, side, size_requested, size_executed,"
                " notional_executed, status, last_status_at, started_at, ended_at, duration_minutes, event_count,"
                " first_event_at, first_object_key, last_object_key) SELECT (1000000 + n)::text, :wallet, 'BTC', 'B',"
                " 1, 0.123456789, n, 'finished', t, t, t, 30, 2, t, repeat('a', 1000), repeat('b', 1000)"
                " FROM generate_series(1, :many) AS n, LATERAL (SELECT '2025-08-20Z'::timestamptz + n * interval '1 s'"
                " AS t) AS at"
            ),
            {"wallet": WALLET, "many": MANY_ORDERS},
        )
    return shared_tables.engine


@pytest.fixture
def many_client(many_orders: Engine) -> Iterator[httpx2.Client]:
    """A client of an app of its own on these tables."""
    with serving(create_app(make_settings(many_orders.url))) as client:
        yield client


def test_csv_export_has_orders_of_the_range_oldest_first(client: httpx2.Client, tables: Tables) -> None:
    rows = [{**event(n, status="finished", minute=n, executed="0.10"), "state_executedNtl": "1.50"} for n in (3, 1, 2)]
    tables.load("a", [*rows, event(4, minute=4)])

    response = client.get(f"{PATH}/csv", params={"end": "2025-08-20T12:04:00.123456Z"})

    orders = list(csv.DictReader(io.StringIO(response.text)))
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="twap-orders-{WALLET}.csv"'
    assert "without fees, closed profit and slices: these are in the fills" in response.headers["x-data-limitations"]
    assert [order["twap_id"] for order in orders] == ["1", "2", "3"]
    assert list(orders[0]) == list(ORDER_COLUMNS)
    assert (orders[0]["size_executed"], orders[0]["notional_executed"]) == ("0.10", "1.50")
    assert (orders[0]["average_price"].rstrip("0"), orders[0]["is_underfilled"]) == ("15.", "true")
    assert orders[0]["ended_at"] == "2025-08-20T12:01:00.123456Z"


def test_parquet_export_has_timestamps_and_exact_text(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1), event(1, status="finished", minute=30, executed="10"), event(2)])

    frame = pl.read_parquet(io.BytesIO(client.get(f"{PATH}/parquet").content))

    assert frame.columns == list(ORDER_COLUMNS)
    assert frame.schema["ended_at"] == pl.Datetime("us", "UTC")
    assert frame["size_executed"].to_list() == ["0.0", "10"]
    assert frame["ended_at"].to_list() == [None, datetime(2025, 8, 20, 12, 30, 0, 123456, tzinfo=UTC)]


def test_long_export_has_all_rows_and_sums_of_sql(many_client: httpx2.Client, many_orders: Engine) -> None:
    with many_client.stream("GET", f"{PATH}/csv", headers=IDENTITY) as response:
        orders = list(csv.DictReader(response.iter_lines()))
    frame = pl.read_parquet(io.BytesIO(many_client.get(f"{PATH}/parquet").content))

    with many_orders.connect() as connection:
        sums = connection.execute(text("SELECT count(*), sum(notional_executed), sum(size_executed) FROM twap_orders"))
        expected = tuple(sums.one())
    assert (len(orders), sum(Decimal(order["notional_executed"]) for order in orders)) == expected[:2]
    assert (frame.height, sum(map(Decimal, frame["size_executed"]))) == (expected[0], expected[2])


def export_is_aborted(client: httpx2.Client, engine: Engine) -> bool:
    """End the database session of a CSV export during the transfer; return whether the client detects it."""
    kill = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'twap_pipeline_api' AND state <> 'idle'"
    )
    received_lines = 0
    try:
        with client.stream("GET", f"{PATH}/csv", headers=IDENTITY) as response:
            assert response.status_code == 200
            for number, chunk in enumerate(response.iter_raw()):
                received_lines += chunk.count(b"\n")
                if number == 0:
                    with engine.begin() as connection:
                        assert connection.execute(text(kill)).all() == [(True,)]
    except httpx2.RemoteProtocolError:
        assert 0 < received_lines < MANY_ORDERS
        return True
    assert received_lines < MANY_ORDERS, "the client received the whole file"
    return False


@pytest.mark.fault("A3")
def test_export_lost_database_aborts_the_response(many_client: httpx2.Client, many_orders: Engine) -> None:
    assert export_is_aborted(many_client, many_orders)
    assert many_client.get(f"{PATH}/csv").text.count("\n") == MANY_ORDERS + 1
    eventually(
        lambda: (
            'twap_api_responses_aborted_total{route="/api/v2/wallets/{wallet}/exports/{format}"} 1.0'
            in many_client.get("/metrics").text
        )
    )


@pytest.mark.fault("A3", control=True)
def test_export_that_ignores_errors_is_not_aborted(
    many_client: httpx2.Client, many_orders: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream_export = route.stream_export

    async def stream_ignoring_errors(*arguments: Any) -> AsyncGenerator[bytes, None]:
        with suppress(SQLAlchemyError):
            async for chunk in stream_export(*arguments):
                yield chunk

    monkeypatch.setattr(route, "stream_export", stream_ignoring_errors)

    assert not export_is_aborted(many_client, many_orders)


@pytest.mark.fault("A5")
def test_export_aborted_by_client_frees_its_connection(many_client: httpx2.Client) -> None:
    in_use = 'twap_api_pool_connections{pool="exports",state="in_use"} '
    for _ in range(6):  # more than EXPORT_POOL_SIZE
        with many_client.stream("GET", f"{PATH}/csv", headers=IDENTITY) as response:
            chunks = response.iter_raw()  # a reference keeps the connection open
            next(chunks)
            assert f"{in_use}0.0" not in many_client.get("/metrics").text

    eventually(lambda: f"{in_use}0.0" in many_client.get("/metrics").text)


@pytest.mark.fault("A9")
def test_export_of_slow_readers_is_aborted(many_client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many slow readers as connections; others are served when these readers are aborted."""
    monkeypatch.setattr(route, "SEND_TIMEOUT_SECONDS", 0.5)
    readers = [socket.socket() for _ in range(4)]
    try:
        for reader in readers:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that the file exceeds the buffers early
            reader.connect((many_client.base_url.host, many_client.base_url.port))
            reader.sendall(f"GET {PATH}/csv HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        in_use = 'twap_api_pool_connections{pool="exports",state="in_use"} '
        eventually(lambda: f"{in_use}4.0" in many_client.get("/metrics").text)
        for reader in readers:
            assert reader.recv(1)

        eventually(lambda: f"{in_use}0.0" in many_client.get("/metrics").text, 60)
        assert many_client.head(f"{PATH}/csv").status_code == 200
    finally:
        for reader in readers:
            reader.close()


@pytest.mark.fault("A9")
def test_export_without_a_free_connection_is_503(many_client: httpx2.Client) -> None:
    with ExitStack() as readers:
        bodies = [
            readers.enter_context(many_client.stream("GET", f"{PATH}/csv", headers=IDENTITY)).iter_raw()
            for _ in range(4)
        ]
        for body in bodies:
            next(body)
        refused = many_client.get(f"{PATH}/parquet")

    assert (refused.status_code, refused.json()["title"]) == (503, "Service unavailable")
    assert refused.headers["retry-after"] == "1"


def test_export_failure_before_first_byte_is_a_problem(client: httpx2.Client, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE twap_orders CASCADE"))

    response = client.get(f"{PATH}/csv")

    assert (response.status_code, response.json()["title"]) == (503, "Schema not ready")


_FORMULA_STARTS = [
    *"=+-@\t\r\n\v\f\0",
    *"\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}",
    *"\N{SMALL EQUALS SIGN}\N{SMALL COMMERCIAL AT}\N{MINUS SIGN}\N{SUPERSCRIPT PLUS SIGN}",
    *(
        f"{space}="
        for space in (" ", "\N{NO-BREAK SPACE}", "\N{ZERO WIDTH SPACE}", "\ufeff", "\u2028", "\u3000 \u00ad")
    ),
]


@pytest.mark.fault("A4")
@pytest.mark.parametrize("start", _FORMULA_STARTS, ids=ascii)
def test_csv_export_escapes_text_but_not_numbers(start: str) -> None:
    text = write_text("csv", order(asset=f"{start}1+1", size_requested="-1.5", status_error=f"{start}x"))

    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["asset"], row["status_error"], row["size_requested"]) == (f"'{start}1+1", f"'{start}x", "-1.5")


@pytest.mark.fault("A4")
@pytest.mark.parametrize("plain", ["BTC", "xyz:NVDA", "PURR/USDC", " a=b", "'", '"=1"', "1-2", "é=", ""])
def test_csv_export_keeps_plain_text(plain: str) -> None:
    (row,) = csv.DictReader(io.StringIO(write_text("csv", order(asset=plain)), newline=""))

    assert row["asset"] == plain


@pytest.mark.fault("A4")
@given(st.text(), st.sampled_from([*_FORMULA_STARTS, ""]))
def test_escaped_text_is_never_a_formula_and_round_trips(rest: str, start: str) -> None:
    text = start + rest
    cell = escape_formula(text) or ""
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert not unicodedata.normalize("NFKC", cell).strip().startswith(("=", "+", "-", "@"))
    assert text in {cell, cell[1:]}
    encodable = cell.encode("utf-8", "ignore").decode()
    assert list(csv.reader(io.StringIO(to_csv_bytes([[encodable, "x"]]).decode(), newline=""))) == [[encodable, "x"]]


def test_tax_download_is_refused_or_counts_skipped_orders(client: httpx2.Client, tables: Tables) -> None:
    end = {**event(1, status="finished", minute=30, executed="10", asset="@107"), "state_executedNtl": "420.5"}
    tables.load("a", [end, {**end, "twap_id": 2, "state_coin": "@9999"}])
    path = f"/api/v2/wallets/{WALLET}/exports/koinly"

    refused, skipped = (client.get(path, params={"skip_incomplete": skip}) for skip in ("false", "true"))
    perpetuals = client.get(path, params={"market": "perp"})

    assert (refused.status_code, refused.json()["title"]) == (409, "Export refused")
    assert "2 (unknown spot pair @9999)" in refused.json()["detail"]
    assert (skipped.status_code, skipped.text.count("hl-twap-")) == (200, 1)
    assert (skipped.headers["x-skipped-orders"], skipped.headers["x-orders-across-years"]) == ("1", "0")
    assert skipped.headers["content-disposition"] == f'attachment; filename="twap-orders-{WALLET}-koinly.csv"'
    assert (perpetuals.status_code, "cannot contain perpetuals" in perpetuals.json()["detail"]) == (409, True)


def test_tax_download_of_fills_and_its_statement(client: httpx2.Client, tables: Tables) -> None:
    end = {**event(1, status="finished", minute=30, executed="10", asset="@107"), "state_executedNtl": "420.5"}
    tables.load("a", [end])
    insert_fills(tables.engine, *(fill(n, asset="@107", fee="0.001", fee_token="HYPE") for n in (1, 2)))
    range_of_day = {"start": "2025-08-20", "end": "2025-08-21"}

    file = client.get(f"{PATH}/summ", params={**range_of_day, "rows": "fills"})
    statement = client.get(f"{PATH}/summ/statement", params=range_of_day)
    refused = client.get(f"{PATH}/csv/statement")

    assert (file.status_code, file.text.count("hl-fill-")) == (200, 2)
    assert (file.headers["x-rows"], file.headers["x-skipped-orders"]) == ("fills", "0")
    assert file.headers["x-data-limitations"].startswith("Fees and realized profit are those of the loaded fills")
    body = statement.json()
    assert (body["rows"], body["line_count"], body["is_complete"]) == ("days", 1, True)
    assert (body["start"], body["orders_by_state"]) == ("2025-08-20T00:00:00.000000Z", {"reconciled": 1})
    assert [(total["token"], total["fee"]) for total in body["fees"]] == [("HYPE", "0.002")]
    assert (refused.status_code, "has no statement" in refused.json()["detail"]) == (409, True)


def test_tax_file_name_contains_the_market() -> None:
    names = [ExportRequest("awaken", WALLET, market=market).file_name for market in (None, "spot", "perp")]

    assert names == [*[f"twap-orders-{WALLET}-awaken.csv"] * 2, f"twap-orders-{WALLET}-awaken-perp.csv"]


def test_parquet_writer_returns_full_row_groups() -> None:
    writer = FORMATS["parquet"].make_writer()
    batch = [order(twap_id=str(n)) for n in range(2_000)]

    sizes = [len(writer.begin()), *(len(writer.rows(batch)) for _ in range(25))]

    assert sizes[0] == 4
    assert [number for number, size in enumerate(sizes[1:], 1) if size] == [10, 20]
