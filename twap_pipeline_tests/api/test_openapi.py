"""The OpenAPI document against the app: what it promises is what comes, whatever is asked."""

import json
from collections.abc import Iterator
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
from twap_pipeline.storage.engine.reader_role import grant_reader
from twap_pipeline_tests.api.conftest import Tables, serving
from twap_pipeline_tests.conftest import create_database
from twap_pipeline_tests.factories import Bucket, event

WALLET = "0x6fa44c6d0584c9f27551533482b256a102194330"
ORDER = 1079490
"""The document's own examples: so that asking for them finds something."""

EXAMPLES = 30
"""Cases for each path, besides the document's examples."""

_CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def described(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A server on tables that hold what the examples ask for, logged in as the reader."""
    database = create_database(server_url, template)
    engine = make_engine(database)
    tables = Tables(engine, Bucket(tmp_path_factory.mktemp("bucket")))
    rows = [event(n, wallet=WALLET, asset=asset) for n, asset in ((ORDER, "BTC"), (2, "@107"), (3, "ETH"))]
    ended = [{**event(ORDER, wallet=WALLET, asset="BTC", status="finished", minute=30, executed="7.5")}]
    tables.take(
        "hourly/2025/08/20/12/a.parquet", [*rows, *ended, event(4, status='{"error":"no"}'), event(5, wallet="?")]
    )
    reader = database.set(username="openapi", password=grant_reader(engine, "openapi"))
    engine.dispose()
    url = reader.render_as_string(hide_password=False)
    given = {"DATABASE_URL": url, "TWAP_API_RATE_LIMIT_PER_MINUTE": 0, "TWAP_API_STATEMENT_TIMEOUT_SECONDS": 30}
    with serving(create_app(Settings.model_validate(given))) as client:
        yield client


document = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


@pytest.mark.fault("A1")
@document.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_the_answer_is_as_described_and_never_5xx(case: Case[Any], described: httpx2.Client) -> None:
    case.call_and_validate(base_url=str(described.base_url), checks=_CHECKED)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"/api/v1/twaps?wallet={WALLET}&limit=2", lambda body: len(body["twaps"]) == 2 and body["next_cursor"]),
        (f"/api/v1/twaps/{ORDER}", lambda body: len(body["rows"]) == 2),
        (f"/api/v1/wallets/{WALLET}/summary", lambda body: len(body["by_asset"]) == 3),
        ("/api/v1/twaps/active", lambda body: body["stale"]),
        ("/api/v1/stats/daily?start=2025-08-20&limit=1", lambda body: body["days"] and body["next_cursor"]),
        ("/api/v1/coverage", lambda body: body["days"]),
    ],
)
def test_full_answers_are_as_described(described: httpx2.Client, path: str, found: Any) -> None:
    json_response = described.get(path)
    assert found(json_response.json())

    template = {"twaps": "/api/v1/twaps/{twap_id}", "wallets": "/api/v1/wallets/{wallet}/summary"}
    plain = path.partition("?")[0]
    kind = "twaps" if plain.endswith(str(ORDER)) else "wallets" if "wallets" in plain else None
    operation = document[template[kind] if kind else plain]["GET"]
    operation.validate_response(json_response)


def test_the_document_says_what_the_data_cannot_tell_and_gives_examples(described: httpx2.Client) -> None:
    to_json_value = described.get("/api/v1/openapi.json").json()

    assert "Fees and closed profit are not in this feed" in to_json_value["info"]["description"]
    for path, methods in to_json_value["paths"].items():
        assert list(methods) == ["get"]
        assert methods["get"]["description"], path
        for parameter in methods["get"].get("parameters", []):
            assert parameter["description"], (path, parameter["name"])
    assert json.dumps(to_json_value).count('"examples"') > 20
