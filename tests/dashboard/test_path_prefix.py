"""The hub behind a reverse proxy that publishes it under a path: pages, links, pushes and the scripts' requests stay under it."""

import threading
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import BrowserContext, expect
from starlette.types import Receive, Scope, Send

from streams.health import listen
from tests.dashboard.small_world import running_hub

pytestmark = pytest.mark.browser

PREFIX = "/tools/loop"


def test_every_page_works_under_a_path_prefix(tmp_path: Path, browser: BrowserContext) -> None:
    outside: list[str] = []
    with running_hub(tmp_path / "home", hub={"path_prefix": PREFIX}, access={"proxy_authenticates": True}) as hub:

        async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                return
            if not scope["path"].startswith(PREFIX):
                outside.append(scope["path"])
            path = scope["path"].removeprefix(PREFIX)
            await hub.hub.app(dict(scope, path=path, raw_path=path.encode()), receive, send)

        address = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(proxy, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [address]}, daemon=True)
        thread.start()
        try:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{address.getsockname()[1]}{PREFIX}/")
            expect(page.locator("#live-word")).to_have_text("Live")
            for name in ("rate", "runs", "promotions"):
                page.click(f"#nav-{name}")
                expect(page.locator("h1")).to_have_text(name.capitalize())
                expect(page.locator(f"#nav-{name}")).to_have_class("nav-link here")
            hub.world.chat(1)
            page.click("#nav-rate")
            page.fill("#rate-name", "Noor")
            expect(page.locator("feedbackloop-rate #pair")).to_be_visible()
            page.keyboard.press("Enter")
            page.keyboard.press("1")
            hub.wait_for(lambda status: status["counts"]["judgments"] == 1)
            page.reload()
            expect(page.locator("h1")).to_have_text("Rate")
            page.close()  # before the proxy: a page that reconnects meanwhile would log an error
        finally:
            server.should_exit = True
            thread.join(10)
    assert [path for path in outside if path != "/favicon.ico"] == []
