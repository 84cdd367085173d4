"""The web page in Chromium: keyboard use, navigation, downloads, phones, API keys, and data that contain markup.

What needs no layout, focus or event is in `test_web_ui_scripts`.
"""

from collections.abc import Iterator
from http import HTTPStatus

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from twap_pipeline.api import create_app
from twap_pipeline.api.keys import make_key
from twap_pipeline_tests.api.serving import Tables, make_settings, serving
from twap_pipeline_tests.browser import checked_page, chromium
from twap_pipeline_tests.factories import WALLET, event
from twap_pipeline_tests.fill_rows import fill, insert_fills

MARKUP = "<img src=x onerror=alert(1)>"
expect.set_options(timeout=30_000)


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


@pytest.fixture(scope="module")
def client(shared_tables: Tables, shared_client: httpx2.Client) -> httpx2.Client:
    """Orders 1 to 61, the last one running, 70 with an error; 25 slices of order 1, one of the unknown order 700."""
    ends = [
        {**event(n, status="finished", minute=30, executed="10"), "state_executedNtl": "420.5"} for n in range(1, 61)
    ]
    failed = {**event(70, status='{"error":"Insufficient margin."}', minute=1), "state_coin": MARKUP}
    shared_tables.load("a", [*[event(n) for n in range(1, 62)], *ends, failed])
    slices = [fill(n, minute=n, size="0.4", fee="0.1", realized_pnl="-0.5") for n in range(25)]
    insert_fills(shared_tables.engine, *slices, fill(99, 700))
    return shared_client


@pytest.fixture(scope="module")
def key_and_client(client: httpx2.Client, shared_tables: Tables) -> Iterator[tuple[str, httpx2.Client]]:
    """An API key, and a client of an app that requires it, on the same tables."""
    key, key_hash = make_key()
    with serving(create_app(make_settings(shared_tables.engine.url, TWAP_API_KEY_HASHES=key_hash))) as other:
        yield key, other


def page_url(client: httpx2.Client, fragment: str = "") -> str:
    return f"{client.base_url}/{fragment}"


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


def test_page_order_adds_slices_by_keyboard(client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(client, "#order/1"))

    slices = page.get_by_role("region", name="Slices, oldest first")
    expect(slices.locator("tbody tr")).to_have_count(20)
    page.get_by_role("button", name="More slices").press("Enter")
    expect(slices.locator("tbody tr")).to_have_count(25)
    expect(slices).to_be_focused()


def test_page_shows_data_as_text_and_the_error_of_an_order(client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(client, "#order/70"))

    expect(page.locator("#view")).to_contain_text(MARKUP)
    expect(page.get_by_role("note")).to_have_text("The exchange's reason: Insufficient margin.")
    assert page.locator("#view img").count() == 0


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


def test_page_shows_coverage_active_orders_and_download(client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(client, "#coverage"))
    expect(page.get_by_label("2025-08-20: 1 objects, 122 rows")).to_be_visible()
    page.get_by_role("link", name="missing slices").click()
    orders = page.get_by_role("region", name="Earliest first").locator("tbody tr")
    expect(orders).to_have_count(50)
    page.get_by_role("button", name="More orders").press("Enter")
    expect(orders).to_have_count(59)
    page.get_by_role("link", name="no order").click()
    page.get_by_role("link", name="700", exact=True).click()
    expect(page.get_by_role("heading", name="Order 700")).to_be_visible()
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


def test_page_fits_a_phone_in_dark_mode(client: httpx2.Client, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    views = (
        "",
        f"#wallet/{WALLET}",
        "#order/1",
        "#active",
        "#leaderboard",
        "#coverage",
        "#reconciliation/missing_fills",
    )
    for fragment in views:
        page.goto("about:blank")
        page.goto(page_url(client, fragment))
        expect(page.locator("#view[aria-busy=false] h2").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 27)"


def test_page_requests_an_api_key_if_required(key_and_client: tuple[str, httpx2.Client], page: Page) -> None:
    key, client = key_and_client
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
    for name, file_name in (("csv", f"orders-{WALLET}.csv"), ("koinly statement", f"statement-{WALLET}-koinly.json")):
        with page.expect_download() as downloading:
            page.get_by_role("link", name=name, exact=True).click()
        assert downloading.value.suggested_filename == f"twap-{file_name}"
        assert WALLET in downloading.value.path().read_text()


def test_page_keeps_a_key_entered_before_a_late_401(key_and_client: tuple[str, httpx2.Client], page: Page) -> None:
    """Each request sent without the key ends with status 401, also after the key was entered."""
    key, client = key_and_client
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/orders?limit=20", hold, times=1)
    page.goto(page_url(client, "#order/1"))
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("#view").get_by_role("listitem")).to_have_count(2)

    with page.expect_response(lambda response: response.status == HTTPStatus.UNAUTHORIZED):
        held[0].continue_()

    expect(page.locator("#view").get_by_role("listitem")).to_have_count(2)
    expect(page.locator("#unlock")).to_be_hidden()


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


def test_page_reports_invalid_and_unknown_input(idle_client: httpx2.Client, page: Page) -> None:
    page.goto(page_url(idle_client))
    expect(page.get_by_role("heading", name="No data yet")).to_be_visible()
    page.get_by_label("Wallet or order").fill("nonsense")
    page.keyboard.press("Enter")
    assert "Enter a wallet" in page.get_by_label("Wallet or order").evaluate("input => input.validationMessage")
    page.get_by_label("Wallet or order").fill("")
    page.get_by_label("Wallet or order").fill(WALLET)
    page.keyboard.press("Enter")
    expect(page.locator("#view")).to_contain_text("The data contain no order of this wallet.")
