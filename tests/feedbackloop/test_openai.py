"""``feedbackloop.openai.wrap`` with OpenAI's own package against a serving process."""

import asyncio
import copy
import pickle
from pathlib import Path
from typing import Any

import openai
import pytest

from feedbackloop import AsyncClient, Client
from feedbackloop.openai import wrap
from feedbackloop.reply_feedback import AsyncReplyFeedback, ReplyFeedback
from storage.events import JudgmentGiven, ResponseEdited, ResponseRated
from tests.feedbackloop.serving_process import ServingProcess

pytestmark = pytest.mark.processes

ASKED: list[Any] = [{"role": "user", "content": "When is my interview?"}]


def official(serving: ServingProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{serving.url}/v1", api_key="unused", max_retries=0)


def official_async(serving: ServingProcess) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{serving.url}/v1", api_key="unused", max_retries=0)


def create(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": "champion", "messages": ASKED} | more)


def said_of(serving: ServingProcess, reply_id: object) -> list[ResponseRated]:
    return [event for event in serving.events() if isinstance(event, ResponseRated) and event.reply_id == reply_id]


def test_every_kind_of_feedback_on_a_completion_is_recorded(running: ServingProcess) -> None:
    completion = create(wrap(official(running)))
    feedback = completion.feedback
    assert isinstance(feedback, ReplyFeedback)
    feedback.thumb("up", recruiter="ana", reason="clear")
    feedback.score(4, (1, 5), recruiter="ana")
    feedback.comment("friendly", recruiter="ana")
    judged = feedback.prefer("A", recruiter="ana", strength=2)
    rewritten = feedback.edit("On Monday at ten.", recruiter="ana")
    feedback.withdraw(recruiter="ana")
    ratings = said_of(running, feedback.ids.reply_id)
    assert [(event.thumb, event.score, event.comment, event.reason) for event in ratings] == [
        ("up", None, None, "clear"), (None, 4, None, None), (None, None, "friendly", None), (None, None, None, None),
    ]  # fmt: skip
    events = running.events()
    [judgment] = [event for event in events if event.event_id == judged.event_id]
    assert isinstance(judgment, JudgmentGiven)
    assert (judgment.pair_id, judgment.choice, judgment.strength) == (feedback.ids.pair_id, "A", 2)
    [edited] = [event for event in events if isinstance(event, ResponseEdited) and event.pair_id == rewritten.pair_id]
    assert edited.edited == "On Monday at ten."


def test_streams_responses_and_completions_carry_it_too(running: ServingProcess) -> None:
    client = wrap(official(running))
    with create(client, stream=True) as stream:
        with pytest.raises(ValueError, match="read it to its end"):
            _ = stream.feedback
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert stream.response.status_code == 200
    replies = [
        stream,
        client.responses.create(model="champion", input="When?"),
        client.completions.create(model="champion", prompt="When?"),
    ]
    events = client.responses.create(model="champion", input="When?", stream=True)
    assert list(events)[-1].type == "response.completed"
    texts = client.completions.create(model="champion", prompt="When?", stream=True)
    assert "".join(chunk.choices[0].text for chunk in texts if chunk.choices) == text
    with client.chat.completions.stream(model="champion", messages=ASKED) as helper:
        assert helper.get_final_completion().choices[0].message.content == text
    for reply in [*replies, events, texts, create(client.with_options(timeout=20))]:
        receipt = getattr(reply, "feedback").thumb("down", recruiter="ana")  # noqa: B009 (not among the package's types)
        assert receipt.event_id is not None
    assert client.chat.completions.with_raw_response.create(model="champion", messages=ASKED).parse().choices[0].message.content == text


def test_the_asynchronous_client_has_coroutines(running: ServingProcess, file: Path) -> None:
    async def scenario() -> list[object]:
        async with AsyncClient(running.url, spool=file) as feedback, wrap(official_async(running), feedback=feedback) as client:
            completion: Any = await client.chat.completions.create(model="champion", messages=ASKED)
            assert isinstance(completion.feedback, AsyncReplyFeedback)
            await completion.feedback.thumb("up", recruiter="ana")
            stream: Any = await client.chat.completions.create(model="champion", messages=ASKED, stream=True)
            async with stream:
                assert [chunk async for chunk in stream]
            await stream.feedback.thumb("up", recruiter="ana")
            return [completion.feedback.ids.reply_id, stream.feedback.ids.reply_id]

    for reply_id in asyncio.run(scenario()):
        assert [event.thumb for event in said_of(running, reply_id)] == ["up"]


def test_the_asynchronous_client_marks_a_regenerated_reply(running: ServingProcess) -> None:
    async def scenario() -> object:
        async with wrap(official_async(running), on_regenerate="thumb_down") as client:
            asked: dict[str, Any] = {"model": "champion", "metadata": {"conversation_id": "c-regenerated-async"}}
            first: Any = await client.chat.completions.create(messages=ASKED, **asked)
            stream: Any = await client.chat.completions.create(messages=iter(ASKED), stream=True, **asked)
            assert [chunk async for chunk in stream]
            return first.feedback.ids.reply_id

    assert [event.thumb for event in said_of(running, asyncio.run(scenario()))] == ["down"]


def test_a_reply_that_is_not_logged_cannot_be_judged(running: ServingProcess) -> None:
    completion = create(wrap(official(running)), store=False)
    with pytest.raises(ValueError, match="it was not logged"):
        completion.feedback.thumb("up", recruiter="ana")


def test_a_completion_stays_what_it_was_and_other_clients_are_untouched(running: ServingProcess) -> None:
    client, other = wrap(official(running)), official(running)
    completion, plain = create(client), create(other)
    assert "feedback" not in completion.model_dump()
    assert completion.to_dict().keys() == plain.to_dict().keys()
    assert copy.deepcopy(completion).feedback.ids == completion.feedback.ids
    assert pickle.loads(pickle.dumps(completion)).feedback.thumb("up", recruiter="ana").event_id is not None
    assert not hasattr(plain, "feedback")
    again = create(wrap(client))
    assert again.feedback.ids.reply_id is not None
    with pytest.raises(ValueError, match="does not end in /v1"):
        wrap(openai.OpenAI(base_url=running.url, api_key="unused"))
    with pytest.raises(ValueError, match="AsyncClient cannot be used with OpenAI"):
        wrap(other, feedback=AsyncClient(running.url))


def test_a_regenerated_reply_gets_a_thumb_down_only_where_that_was_asked_for(running: ServingProcess) -> None:
    def regenerated(client: openai.OpenAI, conversation_id: str | None, **more: Any) -> list[str | None]:
        named = {} if conversation_id is None else {"metadata": {"conversation_id": conversation_id}}
        first = create(client, **named)
        second = create(client, **named, **more)
        if "stream" in more:
            assert list(second)
        assert not said_of(running, second.feedback.ids.reply_id)
        return [event.thumb for event in said_of(running, first.feedback.ids.reply_id)]

    marking = wrap(official(running), on_regenerate="thumb_down")
    assert regenerated(marking, "c-regenerated-1") == ["down"]
    assert regenerated(marking, "c-regenerated-2", stream=True) == ["down"]
    assert regenerated(marking, "c-regenerated-3", messages=[*ASKED, {"role": "assistant", "content": "Soon."}, *ASKED]) == []
    assert regenerated(marking, None) == [], "two candidates may ask the same"
    assert regenerated(wrap(official(running)), "c-regenerated-4") == []
    unreachable = wrap(official(running), feedback=Client("http://127.0.0.1:9", retries=0), on_regenerate="thumb_down")
    assert regenerated(unreachable, "c-regenerated-5") == [], "the chat goes on"
