"""A new kind of feedback and a new upstream: one file and one row each."""

from pathlib import Path
from uuid import UUID

import httpx
import pytest

from serving.feedback import table as feedback
from serving.models import table as upstreams
from serving.models.upstream_settings import UpstreamSettings
from storage.errors import ConfigurationError
from storage.events import ResponseRated
from storage.settings import Settings
from tests.one_row import added, reference
from tests.serving.conftest import Start

KIND = '''
"""Stars, one to five, on one reply: four and five are a thumb up."""

from typing import Literal

from serving.feedback.kind import FeedbackKind, Published, Shape


class Stars(Shape):
    """What a candidate's survey says."""

    type: Literal["stars"]
    conversation_id: str
    recruiter: str
    stars: Literal[1, 2, 3, 4, 5]


def publish(intake, given, source):
    thumb = "up" if given.stars > 3 else "down"
    return Published(intake.rating(conversation_id=given.conversation_id, recruiter=given.recruiter, thumb=thumb, source=source).event_id)


KIND = FeedbackKind("stars", Stars, publish)
'''

UPSTREAM = '''
"""Says one thing."""

from serving.models.backend import Answer, Choice, token_counts
from serving.models.table import Upstream


class Parrot:
    width = 1
    honoured = None

    def names(self):
        return ("parrot",)

    def why_not_ready(self):
        return None

    async def complete(self, question, *, patient=False):
        return Answer("parrot", [Choice("hello", "stop")], token_counts(1, 1))

    async def close(self):
        pass


UPSTREAM = Upstream("parrot", lambda section: Parrot())
'''


def test_a_kind_of_feedback_is_taken_recorded_and_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, start: Start
) -> None:
    kind = added(tmp_path, monkeypatch, "stars_feedback", KIND).KIND
    monkeypatch.setattr(feedback, "KINDS", (*feedback.KINDS, kind))
    with start(settings) as server:
        body = {"type": "stars", "conversation_id": "c-1", "recruiter": "Ada", "stars": 5}
        answer = httpx.post(f"{server.url}/v1/feedback", json=body)
        assert answer.status_code == 200, answer.text
        rated = server.wait_for("feedback.ratings", lambda event: event.event_id == UUID(answer.json()["event_id"]))
        assert isinstance(rated, ResponseRated)
        assert rated.thumb == "up"
        wrong = httpx.post(f"{server.url}/v1/feedback", json=body | {"stars": 6})
        assert wrong.status_code == 400
        assert wrong.json()["error"]["param"] == "stars"
        document = httpx.get(f"{server.url}/openapi.json").json()
        assert "stars" in str(document["paths"]["/v1/feedback"])
    assert "`stars`" in reference().http()


def test_an_upstream_is_chosen_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, start: Start) -> None:
    row = added(tmp_path, monkeypatch, "parrot_upstream", UPSTREAM).UPSTREAM
    monkeypatch.setattr(upstreams, "UPSTREAMS", (*upstreams.UPSTREAMS, row))
    with start(settings.with_values(upstream={"kind": "parrot", "url": "http://127.0.0.1:9"})) as server:
        reply = server.whole(model="parrot", messages=[{"role": "user", "content": "hi"}])
        assert reply.choices[0].message.content == "hello"
    with pytest.raises(ConfigurationError, match="choose one of openai, azure, anthropic, parrot"):
        upstreams.upstream(UpstreamSettings(kind="owl"))
