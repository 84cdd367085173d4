"""Invalid requests: a 4xx problem response without internals, and no effect on the tables."""

import base64
import json

import httpx2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from twap_pipeline_tests.api.serving import Tables, encode_cursor, get_json
from twap_pipeline_tests.factories import WALLET, event

_TIMESTAMP = "2025-08-20T12:00:00Z"


@pytest.mark.fault("A1")
@pytest.mark.parametrize("path", ["orders", "events"])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
        st.binary(min_size=1).map(encode_cursor),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text(max_size=5),
            lambda values: (
                st.lists(values) | st.dictionaries(st.sampled_from(["ts", "twap_id", "wallet", "digits", "x"]), values)
            ),
        ).map(encode_cursor),
    )
)
@example(encode_cursor({"digits": 1, "twap_id": "1\0", "wallet": "w"}))
@example(encode_cursor({"digits": 1, "twap_id": 1, "wallet": "w"}))
@example(encode_cursor({"digits": 10**30, "twap_id": "1", "wallet": "w"}))
@example(encode_cursor({"digits": -1, "twap_id": "x" * 500, "wallet": ""}))
@example(encode_cursor({"ts": "0001-01-01T00:00:00+23:59", "twap_id": "1", "wallet": "w"}))
@example(encode_cursor({"ts": "9999-12-31T23:59:59-23:59", "twap_id": "1", "wallet": "w"}))
@example(encode_cursor({"ts": 10**30, "twap_id": "1", "wallet": "w"}))
@example(encode_cursor({"ts": _TIMESTAMP, "twap_id": "1", "wallet": "w", "x": 1}))
@example(encode_cursor(b'{"twap_id": "\\ud800"}'))
@example("=")
def test_forged_cursor_is_never_a_server_error(idle_client: httpx2.Client, path: str, cursor: str) -> None:
    response = idle_client.get(f"/api/v2/{path}", params={"cursor": cursor})

    assert response.status_code in {200, 400, 422}, response.text
    if response.status_code == 200:
        keys = {"digits", "twap_id", "wallet"} if path == "orders" else {"ts", "twap_id", "wallet"}
        assert set(json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))) == keys


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.datetimes().map(str),
    st.dates().map(str),
    st.sampled_from(
        ["0000-00-00", "10000-01-01", "-4713-01-01", "9999-12-31T23:59:59.999999Z", "infinity", "\0", "5e3"]
    ),
    st.integers().map(str),
    st.lists(st.integers(), max_size=2),
)
_LISTS = {
    f"/api/v2/orders?wallet={WALLET}": ("digits", "twap_id", "wallet"),
    "/api/v2/orders?sort=ended": ("sort_value", "digits", "twap_id", "wallet"),
    "/api/v2/orders?sort=notional&start=2025-08-20&end=2025-08-21": ("sort_value", "digits", "twap_id", "wallet"),
    "/api/v2/events?asset=BTC": ("ts", "twap_id", "wallet"),
    "/api/v2/orders/1?limit=5": ("wallet", "ts"),
    "/api/v2/stats/daily?start=2025-08-20": ("day", "asset", "side", "status"),
}


@pytest.mark.fault("A1", "A9")
@pytest.mark.parametrize("path", _LISTS, ids=["orders", "ended", "notional", "events", "history", "daily"])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_cursor_with_forged_values_is_never_a_server_error(
    idle_client: httpx2.Client, path: str, data: st.DataObject
) -> None:
    """The keys of the list with values of any type and range."""
    cursor = encode_cursor({name: data.draw(_values) for name in _LISTS[path]})

    response = idle_client.get(f"{path}&cursor={cursor}")

    assert response.status_code in {200, 400, 422}, response.text


@pytest.mark.fault("A1")
@pytest.mark.parametrize(
    "content",
    [
        {"day": "2025-08-20", "asset": "", "side": "", "status": "\0"},
        {"day": "2025-02-30", "asset": "", "side": "", "status": ""},
        {"day": 1e300, "asset": "", "side": "", "status": ""},
        {"day": "2025-08-20", "asset": None, "side": "", "status": ""},
        {"twap_id": "1"},
    ],
)
def test_forged_daily_stats_cursor_is_400(idle_client: httpx2.Client, content: object) -> None:
    query = {"start": "2025-08-20", "cursor": encode_cursor(content)}

    assert idle_client.get("/api/v2/stats/daily", params=query).status_code == 400


@pytest.mark.fault("A1")
def test_cursor_of_another_list_is_400(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(n, minute=n) for n in range(1, 4)])
    cursors = {
        path: client.get(f"/api/v2/{path}", params={"limit": "1"}).json()["next_cursor"]
        for path in ("orders", "events")
    }

    for path, cursor in cursors.items():
        assert client.get(f"/api/v2/{path}", params={"cursor": cursor}).status_code == 200
        for other in (
            {"orders": "events", "events": "orders"}[path],
            "orders?sort=ended",
            "stats/daily?start=2025-01-01",
        ):
            separator = "&" if "?" in other else "?"
            assert client.get(f"/api/v2/{other}{separator}cursor={cursor}").status_code == 400


@pytest.mark.fault("A1")
@pytest.mark.parametrize(
    "parameters",
    [
        {"wallet": "0x\0"},
        {"wallet": "' OR 1=1 --"},
        {"wallet": WALLET + "0"},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": str(2**63)},
        {"limit": "9" * 400},
        {"min_notional": "-1"},
        {"min_notional": "NaN"},
        {"min_notional": "1e999999"},
        {"side": "X"},
        {"market": "option"},
        {"sort": "size"},
        {"start": "2025-08-21", "end": "2025-08-20"},
        {"start": "0001-01-01"},
        {"end": "9999-12-31T23:59:59Z"},
        {"end": "2025-02-30"},
        {"start": "1e400"},
        {"start": "2025-08-20T00:00:00+99:99"},
        {"asset": "\0"},
        {"asset": "B" * 65},
        {"status": "'; DROP TABLE twap_status; --\0"},
        {"time_field": "whenever"},
        {"cursor": "\0"},
        {"cursor": "A" * 1001},
    ],
    ids=lambda parameters: json.dumps(parameters)[:40],
)
def test_invalid_parameter_is_a_problem(idle_client: httpx2.Client, parameters: dict[str, str]) -> None:
    response = idle_client.get("/api/v2/orders", params={"wallet": WALLET, **parameters})

    assert response.status_code in {400, 422}
    assert response.headers["content-type"] == "application/problem+json"
    for internal in ("SELECT", "postgresql", "/site-packages", ".py", "psycopg"):
        assert internal not in response.text


@pytest.mark.fault("A9")
@pytest.mark.parametrize(
    ("query", "parameter", "message"),
    [
        ("&statuss=finished", "statuss", "did you mean `status`?"),
        ("&Asset=BTC", "Asset", "did you mean `asset`?"),
        ("&from=2025-08-20", "from", "Its parameters: wallet, asset, side, status,"),
        ("&%20start=2025-08-20", " start", "did you mean `start`?"),
        ("&min_notional[]=1", "min_notional[]", "did you mean `min_notional`?"),
        ("&=1", "", "is not a parameter"),
        ("&asset=BTC&asset=ETH", "asset", "has one value, but the request contains 2"),
    ],
)
def test_unknown_or_repeated_parameter_is_422(
    idle_client: httpx2.Client, query: str, parameter: str, message: str
) -> None:
    """A filter that is ignored gives a response that is not filtered."""
    refused = idle_client.get(f"/api/v2/orders?wallet={WALLET}{query}")

    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["parameter"] == parameter
    assert message in error["message"]


@pytest.mark.fault("A9")
def test_unknown_parameter_of_any_data_route_is_422(idle_client: httpx2.Client) -> None:
    paths = [path for path in idle_client.get("/openapi.json").json()["paths"] if path.startswith("/api/v2")]

    for path in paths:
        refused = idle_client.get(path.format(wallet=WALLET, twap_id="1", format="csv"), params={"xyz": "1"})
        assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, "xyz"), path
    assert len(paths) == 15
    assert idle_client.get("/api/v2/pressure?horizon=5&horizon=60").status_code == 200
    assert idle_client.get("/healthz?probe=1").status_code == 200


def test_validation_error_lists_invalid_parameters(idle_client: httpx2.Client) -> None:
    problem = idle_client.get("/api/v2/wallets/0x1/summary", params={"start": "x"}).json()

    assert (problem["title"], problem["detail"]) == ("Validation error", "Fix the parameters listed in `errors`.")
    assert [(error["parameter"], bool(error["message"])) for error in problem["errors"]] == [
        ("wallet", True),
        ("start", True),
    ]


@pytest.mark.fault("A1")
def test_injection_text_is_a_plain_filter_value(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1)])
    values = ("'; DROP TABLE twap_status; --", "%", "_", "\\", '"', "' OR ''='", "$1", "%s", ":wallet", "{asset}")

    assert [get_json(client, "/orders", asset=value)["orders"] for value in values] == [[]] * len(values)
    assert len(get_json(client, "/orders")["orders"]) == 1


@pytest.mark.fault("A1")
def test_time_offset_with_unencoded_plus_is_accepted(idle_client: httpx2.Client) -> None:
    response = idle_client.get("/api/v2/leaderboard?start=2025-08-20T02:00:00+02:00&end=2025-08-21")

    assert response.json()["start"] == "2025-08-20T00:00:00.000000Z"


@pytest.mark.fault("A1")
@pytest.mark.parametrize("twap_id", ["%00", "1'--", "9" * 41, "-1", "%F0%9F%98%80", ".."])
def test_invalid_twap_id_is_refused(idle_client: httpx2.Client, twap_id: str) -> None:
    assert idle_client.get(f"/api/v2/orders/{twap_id}").status_code in {404, 422}


def test_unknown_twap_id_is_404(idle_client: httpx2.Client) -> None:
    assert idle_client.get("/api/v2/orders/9223372036854775808").status_code == 404
