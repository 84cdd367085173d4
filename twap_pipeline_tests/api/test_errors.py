"""What a caller cannot mean is refused with 4xx, names no inner workings, and reaches no table."""

import json

import httpx2
import pytest

from twap_pipeline_tests.api.conftest import Tables
from twap_pipeline_tests.api.test_twaps import ask
from twap_pipeline_tests.factories import WALLET, event


@pytest.mark.fault("A1")
def test_a_cursor_serves_only_the_question_that_it_was_given_for(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [event(n, minute=n) for n in range(1, 4)])
    cursor = ask(client, limit=1)["next_cursor"]

    def status(**parameters: object) -> int:
        query = {"wallet": WALLET, **{name: str(value) for name, value in parameters.items()}}
        return client.get("/api/v1/twaps", params=query).status_code

    assert status(cursor=cursor) == 200
    assert status(cursor=cursor, asset="BTC") == 400
    assert status(cursor=cursor, offset=1) == 400
    for place in range(0, len(cursor), 7):
        spoiled = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        assert status(cursor=spoiled) == 400
    assert [status(cursor=bad) for bad in ("x", "=", "é", cursor + "A", cursor[:-1], cursor * 2)] == [400] * 6


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
        {"time": "whenever"},
        {"latest_per_twap": "perhaps"},
        {"cursor": "\0"},
    ],
    ids=lambda parameters: json.dumps(parameters)[:40],
)
def test_what_cannot_be_meant_is_refused(idle_client: httpx2.Client, parameters: dict[str, str]) -> None:
    refused = idle_client.get("/api/v1/twaps", params={"wallet": WALLET, **parameters})

    assert refused.status_code in {400, 422}
    assert refused.headers["content-type"] == "application/problem+json"
    for leak in ("SELECT", "postgresql", "/site-packages", ".py", "asyncpg"):
        assert leak not in refused.text


@pytest.mark.fault("A1")
def test_injection_is_a_value_like_any_other(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [event(1)])
    values = ("'; DROP TABLE twap_status; --", "%", "_", "\\", '"', "' OR ''='", "$1", ":wallet", "{asset}")

    assert [ask(client, asset=value)["twaps"] for value in values] == [[]] * len(values)
    assert len(ask(client)["twaps"]) == 1


@pytest.mark.fault("A1")
def test_an_offset_lost_its_plus_on_the_way(idle_client: httpx2.Client) -> None:
    json_response = idle_client.get(f"/api/v1/twaps?wallet={WALLET}&start=2025-08-20T02:00:00+02:00")

    assert json_response.json()["start"] == "2025-08-20T00:00:00.000000Z"


@pytest.mark.fault("A1")
@pytest.mark.parametrize("twap_id", ["%00", "1'--", "9" * 41, "-1", "%F0%9F%98%80", ".."])
def test_an_id_that_is_none_is_refused(idle_client: httpx2.Client, twap_id: str) -> None:
    assert idle_client.get(f"/api/v1/twaps/{twap_id}").status_code in {404, 422}
    assert idle_client.get("/api/v1/twaps/9223372036854775808").status_code == 404
