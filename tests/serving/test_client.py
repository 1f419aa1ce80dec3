"""``feedbackloop.Client`` against a running server."""

from uuid import UUID

import pytest

from feedbackloop import APIError, Client
from storage.events import Event, JudgmentGiven, PairDrawn, ResponseEdited, ResponseRated, new_id
from tests.serving.conftest import Server

PROMPT = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "when is the interview ?"}]


def test_chat_and_every_kind_of_feedback_reach_the_log(server: Server) -> None:
    with Client(server.url) as client:
        assert "champion" in client.models()
        reply = client.chat(PROMPT, conversation_id="c-1", user="candidate 7", temperature=0.7, max_tokens=8, seed=3)
        assert reply.text
        assert reply.conversation_id == "c-1"
        assert client.chat("hello", max_tokens=4).version == reply.version
        pair = client.add_pair("when ?", ("on monday", "soon"), versions=("bot-1", "bot-2"))
        judged = client.judge(
            pair.pair_id, recruiter="Ana", choice="A", strength=3, objectives={"warmth": "tie"}, shown_first="B", seconds=2.5
        )
        assert (judged.pair_id, judged.waiting) == (pair.pair_id, False)
        rated = client.rate("c-1", "down", recruiter="Ana", reply_id=reply.reply_id, reason="too vague")
        edited = client.edit(PROMPT, "soon", "on monday", recruiter="Ana")
    events: dict[UUID | None, Event] = {
        event.event_id: event for event in server.events("feedback.pairs", "feedback.judgments", "feedback.ratings")
    }
    drawn, judgment = events[pair.event_id], events[judged.event_id]
    assert isinstance(drawn, PairDrawn)
    assert (drawn.a.text, drawn.b.version) == ("on monday", "bot-2")
    assert isinstance(judgment, JudgmentGiven)
    assert (judgment.choice, judgment.strength, judgment.objectives, judgment.seconds) == ("A", 3, {"warmth": "tie"}, 2.5)
    assert isinstance(events[rated.event_id], ResponseRated)
    rewrite = events[edited.event_id]
    assert isinstance(rewrite, JudgmentGiven)
    assert rewrite.choice == "B"


def test_feedback_by_the_ids_of_a_reply_reaches_the_log(server: Server) -> None:
    key = new_id()
    with Client(server.url) as client:
        reply = client.chat(PROMPT, conversation_id="c-by-id", max_tokens=8, seed=3)
        assert reply.reply_id is not None
        scored = client.score(4, (1, 5), recruiter="Ana", reply_id=reply.reply_id, idempotency_key=key)
        assert client.score(4, (1, 5), recruiter="Ana", reply_id=reply.reply_id, idempotency_key=key) == scored
        said = client.comment("good tone", recruiter="Ana", conversation_id="c-by-id")
        rated = client.rate(None, "up", recruiter="Ana", reply_id=reply.reply_id)
        judged = client.judge(recruiter="Ana", reply_id=reply.reply_id, choice="tie")
        assert judged.pair_id == reply.pair_id
        rewritten = client.rewrite("on monday", recruiter="Ana", reply_id=reply.reply_id, reason="a day")
        taken_back = [
            client.withdraw(recruiter="Ana", reply_id=reply.reply_id),
            client.withdraw(recruiter="Ana", pair_id=rewritten.pair_id),
        ]
        done = client.bulk([{"type": "thumb", "reply_id": reply.reply_id, "recruiter": "Ben", "thumb": "up"}, {"type": "applause"}])
    assert (done.accepted, done.refused, done.results[0].status) == (1, 1, "accepted")
    assert done.results[1].error is not None
    assert done.results[1].error["param"] == "type"
    events: dict[UUID | None, Event] = {event.event_id: event for event in server.events("feedback.judgments", "feedback.ratings")}
    ratings = [events[receipt.event_id] for receipt in (scored, said, rated, taken_back[0])]
    assert [(e.thumb, e.score, e.lowest, e.highest, e.comment) for e in ratings if isinstance(e, ResponseRated)] == [
        (None, 4, 1, 5, None), (None, None, None, None, "good tone"), ("up", None, None, None, None), (None, None, None, None, None),
    ]  # fmt: skip
    judgments = [events[receipt.event_id] for receipt in (judged, rewritten, taken_back[1])]
    assert [(e.pair_id, e.choice) for e in judgments if isinstance(e, JudgmentGiven)] == [
        (reply.pair_id, "tie"), (rewritten.pair_id, "B"), (rewritten.pair_id, "skip"),
    ]  # fmt: skip
    [edited] = [e for e in events.values() if isinstance(e, ResponseEdited) and e.pair_id == rewritten.pair_id]
    assert (edited.reply_id, edited.edited) == (reply.reply_id, "on monday")


def test_a_refusal_says_what_was_wrong_and_with_which_field(server: Server) -> None:
    with Client(server.url) as client:
        with pytest.raises(APIError, match=r"strength: .*less than or equal to 4") as refused:
            client.judge(new_id(), recruiter="Ana", choice="A", strength=5)
        assert (refused.value.status, refused.value.param) == (400, "strength")
        with pytest.raises(APIError) as unknown:
            client.chat("hello", model="gpt-x")
        assert (unknown.value.status, unknown.value.code) == (404, "model_not_found")


def test_an_absent_or_wrong_server_is_an_api_error(server: Server) -> None:
    with Client("http://127.0.0.1:9", timeout=2) as client, pytest.raises(APIError, match=r"127\.0\.0\.1:9/v1/models does not answer"):
        client.models()
    with Client(server.url + "/elsewhere") as client, pytest.raises(APIError) as astray:
        client.models()
    assert astray.value.status == 404
