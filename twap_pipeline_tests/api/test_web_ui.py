"""The web page in Chromium: keyboard use, accessibility, phones, API keys, and data that contain markup."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import urljoin

import httpx2
import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import URL

from twap_pipeline.api import create_app
from twap_pipeline.api.keys import make_key
from twap_pipeline.exports.formats import FORMATS
from twap_pipeline.exports.tax.tools import TOOLS
from twap_pipeline_tests.api.serving import Tables, make_settings, serving
from twap_pipeline_tests.browser import checked_page
from twap_pipeline_tests.factories import WALLET, event

MARKUP = "<img src=x onerror=alert(1)>"
expect.set_options(timeout=30_000)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page; the test fails if it requests another host, logs an error or opens a dialog."""
    with checked_page() as page:
        yield page


@pytest.fixture
def filled(tables: Tables) -> Tables:
    ends = [
        {**event(n, status="finished", minute=30, executed="10"), "state_executedNtl": "420.5"} for n in range(1, 61)
    ]
    failed = {**event(70, status='{"error":"Insufficient margin."}', minute=1), "state_coin": MARKUP}
    tables.load("a", [*[event(n) for n in range(1, 62)], *ends, failed])
    return tables


def page_url(client: httpx2.Client, fragment: str = "") -> str:
    return f"{client.base_url}/{fragment}"


@pytest.mark.usefixtures("filled")
def test_page_finds_wallet_and_order_by_keyboard(client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(client))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_label("Wallet or order").focus()
    page.keyboard.type(WALLET.upper().replace("0X", "0x"))
    page.keyboard.press("Enter")

    view = page.locator("#view")
    expect(view.get_by_role("heading", name=f"Wallet {WALLET}")).to_be_visible()
    expect(view).to_be_focused()
    orders = view.get_by_role("region", name="Newest first")
    expect(orders.locator("tbody tr")).to_have_count(50)
    view.get_by_role("button", name="More orders").press("Enter")
    expect(orders.locator("tbody tr")).to_have_count(62)
    expect(view.get_by_role("button", name="More orders")).to_have_count(0)

    orders.get_by_role("link", name="60", exact=True).press("Enter")
    events = view.get_by_role("listitem")
    expect(events).to_have_count(2)
    expect(events.last).to_contain_text("finished 2025-08-20 12:30:00")
    expect(events.last).to_contain_text("executed 10 of 10 HYPE, 420.50 USD")
    expect(view.get_by_role("img", name="Life of the order: buy 10 HYPE")).to_be_visible()
    assert page.title() == "Order 60 · TWAP history"
    page.go_back()
    expect(view.get_by_role("heading", name=f"Wallet {WALLET}")).to_be_visible()


@pytest.mark.usefixtures("filled")
def test_page_shows_data_as_text_and_the_error_of_an_order(client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(client, "#order/70"))

    expect(page.locator("#view")).to_contain_text(MARKUP)
    expect(page.get_by_role("note")).to_have_text("The exchange's reason: Insufficient margin.")
    assert page.locator("#view img").count() == 0


@pytest.mark.usefixtures("filled")
def test_page_market_has_volume_orders_and_wallets(client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(client))

    expect(page.locator("#view dl").first).to_contain_text("25,230.00")
    expect(page.get_by_role("img", name="2025-08-20: bought 25.2K USD, sold 0 USD")).to_be_visible()
    expect(page.get_by_role("region", name="By executed notional", exact=True).locator("tbody tr")).to_have_count(10)
    ranks = page.get_by_role("region", name="By executed notional in the chosen range")
    expect(ranks.locator("tbody tr")).to_have_count(1)
    expect(page.locator("#examples a")).to_have_count(3)
    ranks.get_by_role("link").click()
    expect(page.get_by_role("heading", name=f"Wallet {WALLET}")).to_be_visible()
    page.get_by_label("2025-08-20: 62 orders").click()
    expect(page.get_by_label("From (UTC)")).to_have_value("2025-08-20")


@pytest.mark.usefixtures("filled")
def test_page_shows_coverage_active_orders_and_download(client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(client, "#coverage"))
    expect(page.get_by_label("2025-08-20: 1 objects, 122 rows")).to_be_visible()
    page.get_by_role("link", name="Active orders").click()
    expect(page.locator("#view")).to_contain_text("0 active, 1 stale.")
    page.get_by_role("link", name="Leaderboard").click()
    expect(page.get_by_role("navigation", name="Market").get_by_role("link")).to_have_count(3)

    page.goto(page_url(client, f"#wallet/{WALLET}/2025-08-20/2025-08-21"))
    with page.expect_download() as downloading:
        page.get_by_role("link", name="csv", exact=True).click()
    assert downloading.value.suggested_filename == f"twap-orders-{WALLET}.csv"
    assert downloading.value.path().read_text().count("\n") == 63
    assert page.locator("#view").get_attribute("aria-live") == "polite"


def test_page_offers_every_export_format() -> None:
    script = files("twap_pipeline.api").joinpath("static", "views", "wallet.js").read_text("utf-8")
    (names,) = re.findall(r"export const FORMATS = \[(.*)\]", script)

    (perpetuals,) = re.findall(r"const PERPETUAL_FORMATS = \[(.*)\]", script)

    assert re.findall(r'"([\w-]+)"', names) == list(FORMATS)
    assert re.findall(r'"(\w+)"', perpetuals) == [name for name, tool in TOOLS.items() if not tool.no_perpetuals]


@pytest.mark.usefixtures("filled")
def test_page_fits_a_phone_in_dark_mode(client: httpx2.Client, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    for fragment in ("", f"#wallet/{WALLET}", "#order/1", "#active", "#leaderboard", "#coverage"):
        page.goto("about:blank")
        page.goto(page_url(client, fragment))
        expect(page.locator("#view[aria-busy=false] h2").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 27)"


def test_page_requests_an_api_key_if_required(filled: Tables, database: URL, page: Page) -> None:
    key, key_hash = make_key()
    with serving(create_app(make_settings(database, TWAP_API_KEY_HASHES=key_hash))) as client:
        page.goto(page_url(client, "#order/1"))
        expect(page.locator("#view").get_by_role("alert")).to_contain_text("Authentication required")
        expect(page.locator("#key-refused")).to_be_hidden()
        page.get_by_label("API key").fill("twap_wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-refused")).to_contain_text("The server refused this key.")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")

        expect(page.locator("#view").get_by_role("listitem")).to_have_count(2)
        expect(page.locator("#unlock")).to_be_hidden()
        page.goto(page_url(client, f"#wallet/{WALLET}"))
        with page.expect_download() as downloading:
            page.get_by_role("link", name="csv", exact=True).click()
        assert downloading.value.suggested_filename == f"twap-orders-{WALLET}.csv"
        assert downloading.value.path().read_text().count("\n") == 63


def test_page_keeps_a_key_entered_before_a_late_401(filled: Tables, database: URL, page: Page) -> None:
    """Each request sent without the key ends with status 401, also after the key was entered."""
    key, key_hash = make_key()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with serving(create_app(make_settings(database, TWAP_API_KEY_HASHES=key_hash))) as client:
        page.route("**/orders?limit=20", hold, times=1)
        page.goto(page_url(client, "#order/1"))
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#view").get_by_role("listitem")).to_have_count(2)

        with page.expect_response(lambda response: response.status == HTTPStatus.UNAUTHORIZED):
            held[0].continue_()

        expect(page.locator("#view").get_by_role("listitem")).to_have_count(2)
        expect(page.locator("#unlock")).to_be_hidden()


@pytest.mark.usefixtures("filled")
def test_page_ignores_a_response_after_navigation(client: httpx2.Client, page: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/orders/1", hold, times=1)
    page.goto(page_url(client, "#order/1"))
    page.goto(page_url(client, "#order/2"))
    expect(page.get_by_role("heading", name="Order 2")).to_be_visible()

    with page.expect_response("**/orders/1"):
        held[0].continue_()

    page.evaluate("new Promise(requestAnimationFrame)")
    expect(page.get_by_role("heading", name="Order 2")).to_be_visible()


def test_page_reports_invalid_and_unknown_input(client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(client))
    expect(page.get_by_role("heading", name="No data yet")).to_be_visible()
    page.get_by_label("Wallet or order").fill("nonsense")
    page.keyboard.press("Enter")
    assert "Enter a wallet" in page.get_by_label("Wallet or order").evaluate("input => input.validationMessage")
    page.get_by_label("Wallet or order").fill("")
    page.get_by_label("Wallet or order").fill(WALLET)
    page.keyboard.press("Enter")
    expect(page.locator("#view")).to_contain_text("The data contain no order of this wallet.")


def test_page_rounds_and_adds_decimals_exactly(idle_client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(idle_client))
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

    results = page.evaluate(
        "async calls => { const format = await import('./static/format.js');"
        " return calls.map(([name, ...args]) => format[name](...args)); }",
        [[call.split("(")[0], *json.loads(f"[{call.split('(', 1)[1][:-1]}]")] for call in calls],
    )

    assert results == list(calls.values())


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
