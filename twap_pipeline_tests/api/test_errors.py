"""Invalid requests: a 4xx problem response without internals, and no effect on the tables."""

import base64
import json

import httpx2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from twap_pipeline_tests.api.serving import Tables, encode_cursor, list_twaps
from twap_pipeline_tests.factories import WALLET, event

_TIMESTAMP = "2025-08-20T12:00:00Z"


@pytest.mark.fault("A1")
@pytest.mark.parametrize("latest", ["true", "false"])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
        st.binary(min_size=1).map(encode_cursor),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text(max_size=5),
            lambda values: st.lists(values) | st.dictionaries(st.sampled_from(["ts", "twap_id", "x"]), values),
        ).map(encode_cursor),
    )
)
@example(encode_cursor({"twap_id": "1\0"}))
@example(encode_cursor({"twap_id": 1}))
@example(encode_cursor({"twap_id": "-1"}))
@example(encode_cursor({"twap_id": "1", "ts": "0001-01-01T00:00:00+23:59"}))
@example(encode_cursor({"twap_id": "1", "ts": "9999-12-31T23:59:59-23:59"}))
@example(encode_cursor({"twap_id": "1", "ts": 10**30}))
@example(encode_cursor({"twap_id": "9" * 600, "ts": _TIMESTAMP}))
@example(encode_cursor({"twap_id": "1", "ts": _TIMESTAMP, "x": 1}))
@example(encode_cursor(b'{"twap_id": "\\ud800"}'))
@example("=")
def test_forged_cursor_is_never_a_server_error(idle_client: httpx2.Client, latest: str, cursor: str) -> None:
    query = {"wallet": WALLET, "latest_per_twap": latest, "cursor": cursor}

    response = idle_client.get("/api/v1/twaps", params=query)

    assert response.status_code in {200, 400, 422}, response.text
    if response.status_code == 200:
        keys = {"twap_id"} if latest == "true" else {"twap_id", "ts"}
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
    f"/api/v1/twaps?wallet={WALLET}": ("twap_id",),
    f"/api/v1/twaps?wallet={WALLET}&latest_per_twap=false&asset=BTC": ("ts", "twap_id"),
    "/api/v1/twaps/1?limit=5": ("wallet", "ts"),
    "/api/v1/stats/daily?start=2025-08-20": ("day", "asset", "side", "status"),
}


@pytest.mark.fault("A1", "A9")
@pytest.mark.parametrize("path", _LISTS, ids=["orders", "events", "history", "daily"])
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

    assert idle_client.get("/api/v1/stats/daily", params=query).status_code == 400


@pytest.mark.fault("A1")
def test_cursor_of_another_list_is_400(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(n, minute=n) for n in range(1, 4)])
    cursors = {
        latest: list_twaps(client, limit=1, latest_per_twap=latest)["next_cursor"] for latest in ("true", "false")
    }

    def status(**parameters: str) -> int:
        return client.get("/api/v1/twaps", params={"wallet": WALLET, **parameters}).status_code

    for latest, cursor in cursors.items():
        other = "false" if latest == "true" else "true"
        assert status(cursor=cursor, latest_per_twap=latest) == 200
        assert status(cursor=cursor, latest_per_twap=other) == 400
        assert status(cursor=cursor, latest_per_twap=latest, offset="1") == 400


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
        {"offset": "-1"},
        {"offset": "10001"},
        {"offset": str(2**63)},
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
        {"latest_per_twap": "perhaps"},
        {"cursor": "\0"},
        {"cursor": "A" * 1001},
    ],
    ids=lambda parameters: json.dumps(parameters)[:40],
)
def test_invalid_parameter_is_a_problem(idle_client: httpx2.Client, parameters: dict[str, str]) -> None:
    response = idle_client.get("/api/v1/twaps", params={"wallet": WALLET, **parameters})

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
        ("&from=2025-08-20", "from", "Its parameters: wallet, start, end, asset, status,"),
        ("&%20start=2025-08-20", " start", "did you mean `start`?"),
        ("&latest_per_twap[]=false", "latest_per_twap[]", "did you mean `latest_per_twap`?"),
        ("&=1", "", "is not a parameter"),
        ("&asset=BTC&asset=ETH", "asset", "has one value, but the request contains 2"),
        (f"&wallet={WALLET}", "wallet", "has one value, but the request contains 2"),
    ],
)
def test_unknown_or_repeated_parameter_is_422(
    idle_client: httpx2.Client, query: str, parameter: str, message: str
) -> None:
    """A filter that is ignored gives a response that is not filtered."""
    refused = idle_client.get(f"/api/v1/twaps?wallet={WALLET}{query}")

    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["parameter"] == parameter
    assert message in error["message"]


@pytest.mark.fault("A9")
def test_unknown_parameter_of_any_data_route_is_422(idle_client: httpx2.Client) -> None:
    paths = [path for path in idle_client.get("/api/v1/openapi.json").json()["paths"] if path.startswith("/api/v1")]

    for path in paths:
        refused = idle_client.get(path.format(wallet=WALLET, twap_id="1"), params={"xyz": "1"})
        assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, "xyz"), path
    assert len(paths) == 9
    assert idle_client.get("/api/v1/pressure?horizon=5&horizon=60").status_code == 200
    assert idle_client.get("/healthz?probe=1").status_code == 200


def test_validation_error_lists_invalid_parameters(idle_client: httpx2.Client) -> None:
    problem = idle_client.get("/api/v1/twaps", params={"wallet": "0x1", "limit": "0"}).json()

    assert (problem["title"], problem["detail"]) == ("Validation error", "Fix the parameters listed in `errors`.")
    assert [(error["parameter"], bool(error["message"])) for error in problem["errors"]] == [
        ("wallet", True),
        ("limit", True),
    ]


@pytest.mark.fault("A1")
def test_injection_text_is_a_plain_filter_value(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1)])
    values = ("'; DROP TABLE twap_status; --", "%", "_", "\\", '"', "' OR ''='", "$1", "%s", ":wallet", "{asset}")

    assert [list_twaps(client, asset=value)["twaps"] for value in values] == [[]] * len(values)
    assert len(list_twaps(client)["twaps"]) == 1


@pytest.mark.fault("A1")
def test_time_offset_with_unencoded_plus_is_accepted(idle_client: httpx2.Client) -> None:
    response = idle_client.get(f"/api/v1/twaps?wallet={WALLET}&start=2025-08-20T02:00:00+02:00")

    assert response.json()["start"] == "2025-08-20T00:00:00.000000Z"


@pytest.mark.fault("A1")
@pytest.mark.parametrize("twap_id", ["%00", "1'--", "9" * 41, "-1", "%F0%9F%98%80", ".."])
def test_invalid_twap_id_is_refused(idle_client: httpx2.Client, twap_id: str) -> None:
    assert idle_client.get(f"/api/v1/twaps/{twap_id}").status_code in {404, 422}


def test_unknown_twap_id_is_404(idle_client: httpx2.Client) -> None:
    assert idle_client.get("/api/v1/twaps/9223372036854775808").status_code == 404
