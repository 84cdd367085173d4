"""A headless Chromium for browser tests."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield the Chromium on PATH; skip the test if PATH has none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def chromium_page(width: int = 1400, height: int = 1000) -> Iterator[Page]:
    """Yield a page of a Chromium of its own."""
    with chromium() as browser:
        yield browser.new_page(viewport={"width": width, "height": height})


@contextmanager
def checked_page(browser: Browser) -> Iterator[Page]:
    """Yield a page with a session of its own; fail if it requested another host, logged an error or opened a dialog."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.on(
            "request",
            lambda request: (
                None if "127.0.0.1" in request.url or "blob:" in request.url else errors.append(request.url)
            ),
        )
        yield page
        assert [error for error in errors if "401" not in error] == []
