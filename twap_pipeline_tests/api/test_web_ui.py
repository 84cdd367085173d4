"""The page in a real browser: by keyboard, read aloud, on a phone, in the dark, and deaf to what data might say."""

import re
from collections.abc import Iterator
from importlib.resources import files

import httpx2
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import URL

from twap_pipeline.api import create_app
from twap_pipeline.api.keys import make_key
from twap_pipeline.settings import Settings
from twap_pipeline_tests.api.conftest import Tables, serving
from twap_pipeline_tests.browser import chromium_page
from twap_pipeline_tests.factories import WALLET, event

MARKUP = "<img src=x onerror=alert(1)>"
expect.set_options(timeout=30_000)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page that must stay on its own server and write no error."""
    with chromium_page(1280, 900) as page:
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on(
            "request", lambda sent: None if "127.0.0.1" in sent.url or "blob:" in sent.url else faults.append(sent.url)
        )
        yield page
        assert [fault for fault in faults if "401" not in fault] == []


@pytest.fixture
def filled(tables: Tables) -> Tables:
    ends = [
        {**event(n, status="finished", minute=30, executed="10"), "state_executedNtl": "420.5"} for n in range(1, 61)
    ]
    failed = {**event(70, status='{"error":"Insufficient margin."}', minute=1), "state_coin": MARKUP}
    tables.take("a", [*[event(n) for n in range(1, 62)], *ends, failed])
    return tables


def address(client: httpx2.Client, place: str = "") -> str:
    return f"{client.base_url}/{place}"


@pytest.mark.usefixtures("filled")
def test_a_wallet_and_an_order_are_found_by_keyboard_alone(client: httpx2.Client, page: Page) -> None:
    page.goto(address(client))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the json_response")).to_be_focused()
    page.get_by_label("Wallet or order").focus()
    page.keyboard.type(WALLET.upper().replace("0X", "0x"))
    page.keyboard.press("Enter")

    json_response = page.locator("#json_response")
    expect(json_response.get_by_role("heading", name=f"Wallet {WALLET}")).to_be_visible()
    expect(json_response).to_be_focused()
    orders = json_response.get_by_role("region", name="Orders, the latest first")
    expect(orders.locator("tbody tr")).to_have_count(50)
    json_response.get_by_role("button", name="More orders").press("Enter")
    expect(orders.locator("tbody tr")).to_have_count(62)
    expect(json_response.get_by_role("button", name="More orders")).to_have_count(0)

    orders.get_by_role("link", name="60", exact=True).press("Enter")
    events = json_response.get_by_role("listitem")
    expect(events).to_have_count(2)
    expect(events.last).to_contain_text("finished 2025-08-20 12:30:00")
    expect(events.last).to_contain_text("executed 10 of 10 HYPE, 420.5 USD")
    assert page.title() == "60 · TWAP history"
    page.go_back()
    expect(json_response.get_by_role("heading", name=f"Wallet {WALLET}")).to_be_visible()


@pytest.mark.usefixtures("filled")
def test_what_the_data_say_is_never_markup_and_an_error_is_told(client: httpx2.Client, page: Page) -> None:
    page.goto(address(client, "#order/70"))

    json_response = page.locator("#json_response")
    expect(json_response).to_contain_text(MARKUP)
    expect(json_response).to_contain_text("Insufficient margin.")
    assert json_response.locator("img").count() == 0


@pytest.mark.usefixtures("filled")
def test_coverage_running_orders_and_a_download(client: httpx2.Client, page: Page) -> None:
    page.goto(address(client, f"#wallet/{WALLET}/2025-08-20/2025-08-21"))

    expect(page.get_by_label("2025-08-20: 1 objects, 122 rows")).to_be_visible()
    expect(page.locator("#running")).to_contain_text("0 should be running, 1 should have ended.")
    assert {
        page.locator(f"#{name}").get_attribute("aria-live") for name in ("json_response", "running", "coverage")
    } == {"polite"}
    with page.expect_download() as downloading:
        page.get_by_role("link", name="ExportResponse CSV").click()
    assert downloading.value.suggested_filename == f"twap-orders-{WALLET}.csv"
    assert downloading.value.path().read_text().count("\n") == 63


@pytest.mark.usefixtures("filled")
def test_on_a_phone_in_the_dark_nothing_is_wider_than_the_screen(client: httpx2.Client, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    for place in ("", f"#wallet/{WALLET}", "#order/1"):
        page.goto("about:blank")
        page.goto(address(client, place))
        expect(page.locator("#coverage table").first).to_be_visible()
        if place:
            expect(page.locator("#json_response h2")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 27)"


def test_where_a_key_is_asked_for_the_page_asks_for_it(filled: Tables, database: URL, page: Page) -> None:
    key, hashed = make_key()
    url = database.render_as_string(hide_password=False)
    with serving(create_app(Settings.model_validate({"DATABASE_URL": url, "TWAP_API_KEY_HASHES": hashed}))) as client:
        page.goto(address(client, "#order/1"))
        expect(page.locator("#json_response").get_by_role("alert")).to_contain_text("Authentication required")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")

        expect(page.locator("#json_response").get_by_role("listitem")).to_have_count(2)
        expect(page.locator("#unlock")).to_be_hidden()
        page.goto(address(client, f"#wallet/{WALLET}"))
        with page.expect_download() as downloading:
            page.get_by_role("link", name="ExportResponse CSV").click()
        assert downloading.value.path().read_text().count("\n") == 63


def test_what_cannot_be_found_is_said(client: httpx2.Client, page: Page) -> None:
    page.goto(address(client))
    page.get_by_label("Wallet or order").fill("nonsense")
    page.keyboard.press("Enter")
    assert "Give a wallet" in page.get_by_label("Wallet or order").evaluate("input => input.validationMessage")
    page.get_by_label("Wallet or order").fill("")
    page.get_by_label("Wallet or order").fill(WALLET)
    page.keyboard.press("Enter")
    expect(page.locator("#json_response")).to_contain_text("No order of this wallet is in the data for these days.")


def test_the_page_lets_in_only_its_own_script_and_style(idle_client: httpx2.Client) -> None:
    json_response = idle_client.get("/")

    policy = json_response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert set(re.findall(r"https?://[^\s\"'<]+", json_response.text)) == set()
    assert not re.search(r"<(script|style)[^>]*>[^<]+<|\son\w+=|\sstyle=", json_response.text)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.unit
@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: int) -> None:
    style = files("twap_pipeline.api").joinpath("static", "page.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[scheme]))
    pairs = [
        (name, ground) for name in ("ink", "faint", "accent", "good", "bad", "doubt") for ground in ("ground", "raised")
    ]
    pairs += [("accent-ink", "accent"), ("ink", "level-1"), ("ink", "gap")]

    for one, other in pairs:
        light, dark = sorted((_luminance(colours[one]), _luminance(colours[other])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (one, other)
