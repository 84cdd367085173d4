"""The commands ``symbols list`` and ``symbols refresh``."""

import pytest
from click.testing import CliRunner
from sqlalchemy import URL

from twap_pipeline.cli import cli
from twap_pipeline.errors import ConfigurationError
from twap_pipeline_tests.source.exchange import SPOT_META, exchange_server

RENAMED = {
    **SPOT_META,
    "tokens": [{"name": "USDC", "index": 0}, {"name": "HYPER", "index": 150}, SPOT_META["tokens"][2]],
}


def refresh(monkeypatch: pytest.MonkeyPatch, body: object) -> str:
    """Run ``symbols refresh`` against a server with this response; return the output."""
    with exchange_server(body) as url:
        monkeypatch.setenv("TWAP_EXCHANGE_INFO_URL", url)
        result = CliRunner().invoke(cli, ["symbols", "refresh"])
    assert result.exit_code == 0, result.output
    return result.output


def test_symbols_refresh_records_and_list_prints(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_ALLOW_INSECURE_ENDPOINT", "true")

    output = refresh(monkeypatch, SPOT_META)
    renamed = refresh(monkeypatch, RENAMED)
    lines = CliRunner().invoke(cli, ["symbols", "list"]).stdout.splitlines()

    assert output == "http://127.0.0.1 lists 2 spot pairs: 0 added, 0 renamed, 2 unchanged\n"
    assert renamed == "http://127.0.0.1 lists 2 spot pairs: 0 added, 2 renamed, 0 unchanged\n"
    assert [line.split()[1] for line in lines if line.startswith("@107 ")] == ["HYPE/USDC", "HYPER/USDC"]


def test_symbols_refresh_without_tls_is_refused(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_EXCHANGE_INFO_URL", "http://127.0.0.1:1/info")

    result = CliRunner().invoke(cli, ["symbols", "refresh"])

    assert isinstance(result.exception, ConfigurationError)
    assert "is not https" in str(result.exception)
