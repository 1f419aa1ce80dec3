"""A browser for tests of the pages: an empty profile, errors collected, screenshots in both themes.

``FEEDBACKLOOP_SCREENSHOTS`` names a folder for the screenshots; by default they are deleted with the test's temporary folder.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, ViewportSize, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
)
WIDE = ViewportSize(width=1280, height=860)
PHONE = ViewportSize(width=390, height=844)

expect.set_options(timeout=30_000)  # generous for a busy machine; latencies are timed separately

Shoot = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    if CHROMIUM is None and os.environ.get("CI") != "true":
        pytest.skip("no chromium here: apt-get install chromium, and this test goes through every page")
    assert CHROMIUM, "CI has to have chromium: the pages go untested without it"
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture
def errors() -> list[str]:
    """Errors that pages have logged; any left at the end fails the test."""
    return []


@pytest.fixture
def browser(driver: Playwright, tmp_path: Path, errors: list[str]) -> Iterator[BrowserContext]:
    """A browser with an empty profile; a page's error fails the test."""
    context = driver.chromium.launch_persistent_context(
        tmp_path / "profile", executable_path=CHROMIUM, headless=True, args=ARGUMENTS.split(), viewport=WIDE, color_scheme="light"
    )
    context.set_default_timeout(30_000)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield context
    context.close()
    assert not errors


@pytest.fixture
def shoot(tmp_path: Path) -> Shoot:
    folder = Path(os.environ.get("FEEDBACKLOOP_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.evaluate("scrollTo(0, 0)")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", scheme)
            page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True, animations="disabled")
        page.emulate_media(color_scheme="light")

    return take
