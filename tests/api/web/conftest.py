"""Pages of the dashboard in a real browser, which may not report a single fault."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 20.0
"""Within which a page has to show what is expected."""
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser of the machine; tests are skipped where it has none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        if os.environ.get("BILEVEL_TEST_BROWSER") == "required":
            pytest.fail("no Chromium on PATH")
        pytest.skip("no Chromium on PATH")
    expect.set_options(timeout=1000 * SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens pages at an address, each in a profile of its own; in the end, none of them may have had a fault."""
    faults: list[str] = []
    contexts = []

    def open_at(address: str, place: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1300, "height": 1000}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if is_fault(message) else None)
        page.goto(f"{address}/ui/{place}")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not faults


def is_fault(message: Any) -> bool:
    """Whether the browser complains; that a request was refused or not answered is the tests' business."""
    refused = message.text.startswith("Failed to load resource")
    return message.type in ("error", "warning") and not refused
