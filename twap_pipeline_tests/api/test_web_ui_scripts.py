"""What the functions of the web page return in Chromium; the policy, URLs and contrast of the page without it."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import urljoin

import httpx2
import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import URL

from twap_pipeline.api import create_app
from twap_pipeline.exports.formats import FORMATS
from twap_pipeline.exports.tax.tools import TOOLS
from twap_pipeline_tests.api.serving import Tables, ended_order, make_settings, serving
from twap_pipeline_tests.browser import checked_page, chromium
from twap_pipeline_tests.factories import WALLET
from twap_pipeline_tests.fill_rows import fill, insert_fills


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for the tests of the module."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; the test fails if it requests another host, logs an error or opens a dialog."""
    with checked_page(browser) as page:
        yield page


def evaluate(page: Page, client: httpx2.Client, expression: str, argument: object = None) -> Any:
    """Return the value of a JavaScript function of one argument on the start page."""
    if not page.url.startswith(str(client.base_url)):
        page.goto(str(client.base_url))
    return page.evaluate(expression, argument)


_DOWNLOADS = """async ([wallet, range]) => {
  const { downloads } = await import("/static/views/wallet.js");
  const parent = document.createElement("div");
  parent.append(...[downloads(wallet, range)].flat());
  const attributes = (link) => ({ href: link.getAttribute("href"), download: link.getAttribute("download") });
  return Object.fromEntries([...parent.querySelectorAll("a")].map((link) => [link.textContent, attributes(link)]));
}"""
_VIEW_TEXT = """async ([module, name, ...values]) => {
  const view = (await import(`/static/views/${module}.js`))[name];
  const text = (node) => node.childNodes?.length ? [...node.childNodes].map(text).join(" ") : node.textContent;
  return (await view(...values)).map(text).join(" ");
}"""


def test_page_rounds_and_adds_decimals_exactly(page: Page, idle_client: httpx2.Client) -> None:
    calls = {
        'price("0.003617499")': "0.0036175",
        'price("60123.456789")': "60,123.5",
        'price("1234567.8")': "1,234,568",
        'price("-0.00001")': "-0.00001",
        'usd("2.675")': "2.68",
        'usd("999.995")': "1,000.00",
        'usd("-0.004")': "0.00",
        "usd(null)": "\N{EN DASH}",
        'size("1000.500")': "1,000.5",
        'sumDecimals(["0.1", "0.2", null, "-1.25"])': "-0.95",
        "sumDecimals([])": "0",
        "compact(1234567)": "1.23M",
        "compact(999999)": "1M",
        "duration(1500)": "1 d 1 h",
    }
    values = ", ".join(f"format.{call}" for call in calls)
    script = f"async () => {{ const format = await import('/static/format.js'); return [{values}]; }}"

    assert evaluate(page, idle_client, script) == list(calls.values())


def test_page_offers_every_export_and_its_statement(page: Page, idle_client: httpx2.Client) -> None:
    year = {"start": "2025-01-01", "end": "2026-01-01"}

    links = evaluate(page, idle_client, _DOWNLOADS, [WALLET, year])

    perpetuals = [f"{name} perpetuals" for name, tool in TOOLS.items() if not tool.no_perpetuals]
    statements = {
        f"{name} statement": f"twap-statement-{WALLET}-{name.replace(' ', '-')}.json" for name in (*TOOLS, *perpetuals)
    }
    assert links.keys() == {*FORMATS, *perpetuals, *statements}
    assert {name: links[name]["download"] for name in statements} == statements
    statuses = {name: idle_client.get(f"/{attributes['href']}").status_code for name, attributes in links.items()}
    refused = HTTPStatus.CONFLICT  # no fills are loaded
    assert statuses == {name: refused if "perpetuals" in name else HTTPStatus.OK for name in links}
    assert idle_client.get(f"/{links['koinly statement']['href']}").json()["start"] == "2025-01-01T00:00:00.000000Z"


@pytest.fixture(scope="module")
def filled_client(shared_tables: Tables, shared_client: httpx2.Client) -> httpx2.Client:
    """A client of an app with order 1, whose 25 slices add up, and order 2 without a slice."""
    rows = [row for n in (1, 2) for row in ended_order(n)]
    shared_tables.load(
        "a", [{**row, "state_executedNtl": "420.5" if row["status"] == "finished" else "0"} for row in rows]
    )
    slices = [fill(n, minute=n, size="0.4", fee="0.1", realized_pnl="-0.5") for n in range(25)]
    insert_fills(shared_tables.engine, *slices)
    return shared_client


def view_text(page: Page, client: httpx2.Client, module: str, function: str, *arguments: str) -> str:
    """Return the text of a view, with one space between its parts."""
    return " ".join(evaluate(page, client, _VIEW_TEXT, [module, function, *arguments]).split())


def test_page_order_shows_slices_fees_and_its_state(page: Page, filled_client: httpx2.Client) -> None:
    content = view_text(page, filled_client, "order", "orderView", "1")

    assert "reconciled The slices add up to the executed size and notional of the order." in content
    assert "Slices 25 Size of the slices 10 Average price 42.05 Fees 2.5 USDC Realized profit -12.5" in content
    assert content.count("0.4 at 42.05") == 25
    assert "missing slices Slices are missing" in view_text(page, filled_client, "order", "orderView", "2")


def test_page_shows_fees_of_wallet_and_leaderboard(page: Page, filled_client: httpx2.Client) -> None:
    assert "HYPE 25 420.50 2.5 USDC -12.5" in view_text(page, filled_client, "wallet", "walletView", WALLET)
    month, year = (view_text(page, filled_client, "leaderboard", "leaderboardView", days) for days in ("30", "365"))
    assert "Fees Realized profit" in month
    assert "841.00 2.5 USDC -12.5" in month
    assert ("841.00" in year, "USDC" in year) == (True, False)


def test_page_without_fills_says_so(page: Page, client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", ended_order(1))

    assert "No fills are loaded" in view_text(page, client, "order", "orderView", "1")
    assert "No fills are loaded" in view_text(page, client, "wallet", "walletView", WALLET)
    assert "No fills are loaded" in view_text(page, client, "coverage", "coverageView")
    assert "Fees Realized" not in view_text(page, client, "leaderboard", "leaderboardView")


def test_page_policy_allows_only_its_own_files(idle_client: httpx2.Client) -> None:
    response = idle_client.get("/")

    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert set(re.findall(r"https?://[^\s\"'<]+", response.text)) == set()
    assert not re.search(r"<(script|style)[^>]*>[^<]+<|\son\w+=|\sstyle=", response.text)


def test_page_below_a_path_prefix_uses_relative_urls(database: URL) -> None:
    """As behind a proxy that removes the prefix ``/twap``: the server gets the path without it."""
    with serving(create_app(make_settings(database)), root_path="/twap") as client:
        texts = {"/twap/": client.get("/").text}
        waiting = [urljoin("/twap/", url) for url in _urls(texts["/twap/"]) if not url.startswith("data:")]
        while waiting:
            path = waiting.pop()
            assert path.startswith("/twap/")
            response = client.get(path.removeprefix("/twap"))
            assert response.status_code == HTTPStatus.OK, path
            texts[path] = response.text
            waiting += [url for url in (urljoin(path, url) for url in _imports(response.text)) if url not in texts]
        servers = client.get("/openapi.json").json()["servers"]

    assert servers == [{"url": "/twap"}]
    assert "/twap/static/views/order.js" in texts
    assert not [path for path, text in texts.items() if re.search(r"[\"'`(]/(api|static)", text)]
    assert 'API = "api/v2"' in texts["/twap/static/requests.js"]


def _urls(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"#]+)"', page)


def _imports(script: str) -> list[str]:
    return re.findall(r'^import .* from "(\./[^"]+|\.\./[^"]+)";', script, re.MULTILINE)


def _luminance(color: str) -> float:
    """Return the relative luminance of #rrggbb (WCAG 2)."""
    parts = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_contrast_is_at_least_4_5(scheme: int) -> None:
    style = files("twap_pipeline.api").joinpath("static", "web_ui.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[scheme]))
    pairs = [
        (name, ground) for name in ("ink", "faint", "accent", "good", "bad", "doubt") for ground in ("ground", "raised")
    ]
    pairs += [("accent-ink", "accent"), ("ink", "level-1"), ("ink", "gap")]

    for text, background in pairs:
        light, dark = sorted((_luminance(colors[text]), _luminance(colors[background])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, background)
