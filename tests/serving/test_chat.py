"""The chat API as OpenAI's own client sees it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from storage.events import Message, ReplySent, Sampling
from tests.serving.conftest import Server, ids_of

ASKED = [{"role": "system", "content": "our team is soon next step ."}, {"role": "user", "content": "when is the interview ?"}]


def chat(server: Server, **more: Any) -> ChatCompletion:
    return server.whole(**{"model": "champion", "messages": ASKED} | more)


def streamed(server: Server, **more: Any) -> list[ChatCompletionChunk]:
    return server.streamed(**{"model": "champion", "messages": ASKED} | more)


def said(answer: ChatCompletion) -> str:
    """The text of the first choice."""
    content = answer.choices[0].message.content
    assert content is not None
    return content


def reply_of(server: Server, answer: ChatCompletion | ChatCompletionChunk) -> ReplySent:
    reply_id = ids_of(answer)["reply_id"]
    event = server.wait_for("chat.replies", lambda event: str(event.event_id) == reply_id)
    assert isinstance(event, ReplySent)
    return event


def test_a_reply_to_the_openai_client_is_on_the_log_when_the_response_arrives(server: Server) -> None:
    answer = chat(server, user="Candidate 7", metadata={"conversation_id": "c-1"}, temperature=0.8, top_p=0.9, max_tokens=12, seed=5)

    [event] = [e for e in server.events("chat.replies") if str(e.event_id) == ids_of(answer)["reply_id"]]
    assert isinstance(event, ReplySent)
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert event.reply == choice.message.content
    assert (event.version, answer.model) == ("base", "base")
    assert event.conversation_id == ids_of(answer)["conversation_id"] == "c-1"
    assert [message.model_dump() for message in event.prompt] == ASKED
    assert event.sampling == Sampling(temperature=0.8, top_p=0.9, max_tokens=12, seed=5)
    assert event.source == "product"
    assert event.candidate is not None
    assert event.candidate.startswith("c-")
    words = sum(len(message["content"].split()) for message in ASKED)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == words + 2 * 3 + 2  # template tokens: three per turn, then two that open the reply
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 0 < answer.usage.completion_tokens <= 12


def test_a_stream_has_the_same_text_as_a_complete_response(server: Server) -> None:
    whole = chat(server, seed=11, max_tokens=20)
    chunks = streamed(server, seed=11, max_tokens=20, stream_options={"include_usage": True})

    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert sum(map(bool, pieces)) > 3
    last, usage = chunks[-2:]
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason
    assert usage.usage == whole.usage
    assert reply_of(server, last).reply == "".join(pieces)
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_seed_gives_the_same_reply_alone_and_among_others(server: Server) -> None:
    alone = [chat(server, seed=seed, max_tokens=30).choices[0].message.content for seed in range(6)]
    with ThreadPoolExecutor(24) as crowd:
        others = [crowd.submit(chat, server, seed=100 + i, max_tokens=5 + i, top_p=0.5, temperature=1.5) for i in range(18)]
        again = list(crowd.map(lambda seed: chat(server, seed=seed, max_tokens=30).choices[0].message.content, range(6)))
    assert again == alone
    assert all(other.result().choices[0].message.content for other in others)
    assert len(set(alone)) == 6


def test_temperature_zero_gives_the_same_text_as_the_trainers_generation(server: Server, tiny_model: Path) -> None:
    from trainers.models.engine import generate
    from trainers.models.policy import load_policy

    prompt = [Message(**message) for message in ASKED]
    [expected] = generate(load_policy(str(tiny_model)), [prompt], Sampling(temperature=0, max_tokens=20), seed=0)
    assert chat(server, temperature=0, max_tokens=20).choices[0].message.content == expected


def test_a_reply_ends_before_a_stop_text_also_in_a_stream(server: Server) -> None:
    full = said(chat(server, seed=3, max_tokens=24))
    words = full.split(" ")
    stop = f"{words[4]} {words[5]}"
    expected = full[: full.index(stop)]

    cut = chat(server, seed=3, max_tokens=24, stop=[stop, "never said"])
    assert cut.choices[0].message.content == expected
    assert cut.choices[0].finish_reason == "stop"
    chunks = streamed(server, seed=3, max_tokens=24, stop=stop)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_reply_has_at_most_as_many_tokens_as_asked_for(server: Server) -> None:
    answer = chat(server, max_completion_tokens=3, seed=1)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert answer.choices[0].finish_reason == "length"


def test_a_derived_conversation_id_is_stable_as_the_conversation_grows_and_differs_by_candidate(server: Server) -> None:
    first = chat(server, user="Ada")
    grown = [*ASKED, first.choices[0].message, {"role": "user", "content": "thanks !"}]
    second = chat(server, user="Ada", messages=grown)
    other = chat(server, user="Grace")

    assert ids_of(second)["conversation_id"] == ids_of(first)["conversation_id"]
    assert ids_of(other)["conversation_id"] != ids_of(first)["conversation_id"]


def test_the_name_of_a_candidate_is_nowhere_on_the_log(server: Server) -> None:
    answer = chat(server, user="Wilhelmina Unmistakable")
    event = reply_of(server, answer)
    assert "Unmistakable" not in event.model_dump_json()
    assert event.candidate == reply_of(server, chat(server, user="Wilhelmina Unmistakable")).candidate


def test_content_may_come_in_parts_and_the_developer_role_becomes_system(server: Server) -> None:
    parts = [{"type": "text", "text": "when is"}, {"type": "text", "text": "the interview ?"}]
    answer = chat(server, messages=[{"role": "developer", "content": "our team"}, {"role": "user", "content": parts}])
    assert [(m.role, m.content) for m in reply_of(server, answer).prompt] == [("system", "our team"), ("user", "when is\nthe interview ?")]


def test_simulated_traffic_is_marked_as_such(server: Server) -> None:
    answer = chat(server, extra_headers={"X-FeedbackLoop-Source": "simulation"})
    assert reply_of(server, answer).source == "simulation"


@pytest.mark.parametrize("name", ["champion", "feedbackloop", "base"])
def test_the_models_that_are_listed_answer(server: Server, name: str) -> None:
    assert name in [model.id for model in server.openai().models.list()]
    assert server.openai().models.retrieve(name).id == name
    assert chat(server, model=name, max_tokens=2).model == "base"


def test_ids_are_in_headers_too(server: Server) -> None:
    asked: dict[str, Any] = {"model": "champion", "messages": ASKED}
    raw = server.openai().chat.completions.with_raw_response.create(**asked)
    ids = ids_of(raw.parse())
    assert raw.headers["X-FeedbackLoop-Reply"] == ids["reply_id"]
    assert raw.headers["X-FeedbackLoop-Pair"] == ids["pair_id"]
    assert raw.headers["X-FeedbackLoop-Conversation"] == ids["conversation_id"]
