"""The web page in Chromium: the slices of an order, fees of a wallet, and the reconciliation."""

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Page, expect

from twap_pipeline_tests.api.serving import Tables, ended_order
from twap_pipeline_tests.browser import checked_page
from twap_pipeline_tests.factories import WALLET
from twap_pipeline_tests.fill_rows import fill, insert_fills

expect.set_options(timeout=30_000)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page that fails on errors."""
    with checked_page() as page:
        yield page


@pytest.fixture
def filled(tables: Tables) -> None:
    """Order 1 with 25 slices that add up, order 2 without a slice, and slices of the unknown order 70."""
    rows = [row for n in (1, 2) for row in ended_order(n)]
    tables.load("a", [{**row, "state_executedNtl": "420.5" if row["status"] == "finished" else "0"} for row in rows])
    slices = [fill(n, minute=n, size="0.4", fee="0.1", realized_pnl="-0.5") for n in range(25)]
    insert_fills(tables.engine, *slices, fill(99, 70))


@pytest.mark.usefixtures("filled")
def test_page_order_shows_slices_fees_and_its_state(client: httpx2.Client, page: Page) -> None:
    page.goto(f"{client.base_url}/#order/1")

    view = page.locator("#view")
    expect(view).to_contain_text("reconciled The slices add up to the executed size and notional of the order.")
    figures = "Slices25Size of the slices10Average price42.05Fees2.5 USDCRealized profit-12.5"
    expect(view.locator("dl").last).to_have_text(figures)
    expect(view.locator(".chart .progress")).to_have_count(1)
    expect(view.locator(".chart circle.price")).to_have_count(25)
    rows = view.get_by_role("region", name="Slices, oldest first").locator("tbody tr")
    expect(rows).to_have_count(20)
    view.get_by_role("button", name="More slices").press("Enter")
    expect(rows).to_have_count(25)
    expect(view.get_by_role("region", name="Slices, oldest first")).to_be_focused()


@pytest.mark.usefixtures("filled")
def test_page_coverage_links_to_orders_by_state(client: httpx2.Client, page: Page) -> None:
    page.goto(f"{client.base_url}/#coverage")
    page.get_by_role("link", name="missing slices").click()
    expect(page.get_by_role("heading", name="Reconciliation: missing slices")).to_be_visible()
    rows = page.get_by_role("region", name="Earliest first").locator("tbody tr")
    expect(rows).to_have_count(1)

    page.get_by_role("link", name="no order").click()
    page.get_by_role("link", name="70", exact=True).click()
    expect(page.get_by_role("heading", name="Order 70")).to_be_visible()
    expect(page.get_by_role("region", name="Slices, oldest first").locator("tbody tr")).to_have_count(1)

    page.goto(f"{client.base_url}/#wallet/{WALLET}")
    fees = page.get_by_role("region", name="By asset and token of the fee").locator("tbody tr")
    expect(fees).to_contain_text("2.594612 USDC")
    expect(page.get_by_role("link", name="fills-csv")).to_be_visible()


@pytest.mark.usefixtures("filled")
def test_page_of_fills_fits_a_phone(client: httpx2.Client, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for fragment in ("#order/1", "#order/2", "#reconciliation/missing_fills", "#coverage", f"#wallet/{WALLET}"):
        page.goto("about:blank")
        page.goto(f"{client.base_url}/{fragment}")
        expect(page.locator("#view[aria-busy=false] h2").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_page_without_fills_says_so(client: httpx2.Client, tables: Tables, page: Page) -> None:
    tables.load("a", ended_order(1))

    for fragment in ("#order/1", "#coverage", f"#wallet/{WALLET}"):
        page.goto("about:blank")
        page.goto(f"{client.base_url}/{fragment}")
        expect(page.locator("#view")).to_contain_text("No fills are loaded")
