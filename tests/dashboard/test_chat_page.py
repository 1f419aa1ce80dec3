"""The page Chat: a conversation with a served model in a browser, a judgment by one key, and a serving process that is not there."""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from dashboard.pages.chat import EXAMPLE
from storage.events import JudgmentGiven, PairDrawn, ReplySent
from storage.settings import Settings
from tests.dashboard.in_browser import Shoot
from tests.dashboard.small_world import running_hub
from tests.serving.conftest import run_serving

pytestmark = pytest.mark.browser

QUESTION = "when is the interview ?"


def test_a_person_talks_to_the_model_and_chooses_the_better_reply(
    tmp_path: Path, tiny_model: Path, browser: BrowserContext, shoot: Shoot
) -> None:
    home = tmp_path / "home"
    settings = Settings.read(tmp_path, environ={}).with_values({"home": home, "model": str(tiny_model)}, serving={"max_tokens": 16})
    with run_serving(settings) as serving, running_hub(home, hub={"serving_url": serving.url}) as hub:
        page = browser.new_page()
        page.goto(f"{hub.url}/chat")
        expect(page.locator("#chat-about")).to_contain_text("The base model, before any training on judgments.")
        page.click(".chat-facts summary")
        page.click("#chat-example")
        expect(page.locator("#chat-facts")).to_have_value(EXAMPLE)
        page.fill("#chat-facts", "please confirm")
        page.fill("#chat-message", QUESTION)
        page.press("#chat-message", "Enter")
        expect(page.locator("#chat-verdict")).to_have_text("Type your name above to choose.")
        page.fill("#chat-name", "Noor")
        expect(page.locator("#chat-verdict")).to_contain_text("is shown once you have chosen")
        page.click("h1, h2")
        page.keyboard.press("2")
        expect(page.locator("#chat-verdict")).to_contain_text("Your choice is logged. The reward model has not learnt")
        shoot(page, "chat")
        [pair], [judgment] = serving.events("feedback.pairs"), serving.events("feedback.judgments")
        assert isinstance(pair, PairDrawn)
        assert isinstance(judgment, JudgmentGiven)
        assert (judgment.pair_id, judgment.choice, pair.drawn) == (pair.pair_id, "B", "shown")
        assert [message.content for message in pair.prompt] == ["please confirm", QUESTION]

        page.fill("#chat-message", "thanks")
        page.click("#chat-send")
        expect(page.locator("#chat-conversation .bubble")).to_have_count(3)
        expect(page.locator("#chat-pair")).to_be_visible()
        expect(page.locator("#chat-verdict")).to_contain_text("is shown once you have chosen")
        last = serving.events("chat.replies")[-1]
        assert isinstance(last, ReplySent)
        assert [message.content for message in last.prompt] == ["please confirm", QUESTION, pair.b.text, "thanks"]
        page.click("#chat-new")
        expect(page.locator("#chat-conversation .bubble")).to_have_count(0)
        expect(page.locator("#chat-pair")).to_be_hidden()
        page.close()  # before the hub: a page that reconnects meanwhile would log an error


def test_without_a_serving_process_the_page_says_what_to_start(tmp_path: Path, browser: BrowserContext, errors: list[str]) -> None:
    with running_hub(tmp_path / "home", hub={"serving_url": "http://127.0.0.1:9"}) as hub:  # not the default, where one may run
        page = browser.new_page()
        page.goto(f"{hub.url}/chat")
        expect(page.locator("#chat-notice")).to_contain_text("start it with `feedbackloop serving`")
        page.close()
    assert all("502" in error for error in errors)
    errors.clear()
