"""Second responses: which replies get one, and that no client waits for it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from serving.models.backend import Answer, Choice, Delta, Question, token_counts
from serving.pairing import Pairing, PairingRule, chosen, pair_of
from storage.events import Event, Message, PairDrawn, Sampling, new_id
from streams.bus.sqlite import SQLiteBus
from streams.intake import Intake
from tests.profiles import examples
from tests.serving.conftest import Server, ids_of
from trainers.models.reply import Reply

ASKED = [{"role": "user", "content": "when is the interview ?"}]


def test_the_pair_is_published_after_the_response_under_the_id_given_in_it(server: Server) -> None:
    answer = server.whole(model="champion", messages=ASKED, metadata={"conversation_id": "paired-1"}, temperature=0)
    ids = ids_of(answer)
    pair = server.wait_for("feedback.pairs", lambda event: isinstance(event, PairDrawn) and str(event.pair_id) == ids["pair_id"])

    assert isinstance(pair, PairDrawn)
    assert pair.a.text == answer.choices[0].message.content
    assert pair.b.text.strip() != pair.a.text.strip()
    assert (pair.a.version, pair.b.version) == ("base", "base")
    assert (pair.drawn, pair.probability, pair.conversation_id) == ("sampled", 1.0, "paired-1")
    log = [str(event.event_id) for event in server.events("chat.replies", "feedback.pairs")]
    assert log.index(ids["reply_id"]) < log.index(str(pair.event_id))


class Scripted:
    """A backend that returns the given texts once ``open`` is set."""

    width = 2
    honoured: frozenset[str] | None = None

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[tuple[float | None, int | None]] = []
        self.open = threading.Event()

    def why_not_ready(self) -> None:
        return None

    def names(self) -> tuple[str, ...]:
        return ("scripted",)

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        self.asked.append((question.sampling.temperature, question.sampling.seed))
        await asyncio.to_thread(self.open.wait, 10)
        return Answer("scripted", [Choice(self.texts.pop(0), "stop")], token_counts(1, 1))

    def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        raise NotImplementedError("second responses are drawn whole")

    async def close(self) -> None: ...


def drawn_pairs(
    tmp_path: Path, backend: Scripted, rule: PairingRule, replies: int = 1, second: Scripted | None = None
) -> tuple[list[UUID | None], list[PairDrawn]]:
    bus = SQLiteBus(tmp_path / "bus.sqlite")
    intake = Intake(bus, b"k" * 32)
    published: list[Event] = []
    publish = intake.publish

    def noted(events: Sequence[Event]) -> None:
        publish(events)
        published.extend(events)

    intake.publish = noted  # type: ignore[method-assign]

    async def course() -> list[UUID | None]:
        pairing = Pairing(backend, intake, rule, second=second)
        pairing.start()
        offered = []
        asked = Sampling(temperature=0, seed=7)
        for i in range(replies):
            reply = await asyncio.to_thread(
                intake.reply, conversation_id=f"c-{i}", prompt=ASKED, reply="first", version="scripted", sampling=asked
            )
            offered.append(pairing.offer(reply, Question(reply.prompt, asked)))
        assert pairing.waiting == sum(pair is not None for pair in offered)
        backend.open.set()
        await pairing.stop(within=10)
        assert pairing.waiting == 0
        return offered

    offered = asyncio.run(course())
    bus.close()
    return offered, [event for event in published if isinstance(event, PairDrawn)]


RULE = PairingRule(share=1.0, waiting=100, draws=3, temperature=0.9)


def test_an_identical_second_response_is_sampled_again_with_another_seed(tmp_path: Path) -> None:
    backend = Scripted("first", " first\n", "second")
    [offered], [pair] = drawn_pairs(tmp_path, backend, RULE)
    assert (pair.pair_id, pair.a.text, pair.b.text) == (offered, "first", "second")
    temperatures, seeds = zip(*backend.asked, strict=True)
    assert set(temperatures) == {0.9}
    assert len({7, *seeds}) == 4


def test_a_reply_whose_second_response_is_always_identical_gets_no_pair(tmp_path: Path) -> None:
    backend = Scripted("first", "first", "first", "never asked for")
    _, pairs = drawn_pairs(tmp_path, backend, RULE)
    assert pairs == []
    assert backend.texts == ["never asked for"]


def test_a_pair_is_not_drawn_twice(tmp_path: Path) -> None:
    backend = Scripted("second", "second", "third")
    offered, pairs = drawn_pairs(tmp_path, backend, RULE, replies=3)
    assert None not in offered
    assert sorted(pair.b.text for pair in pairs) == ["second", "third"]


def test_a_second_upstream_writes_the_second_response(tmp_path: Path) -> None:
    backend, second = Scripted("never asked for"), Scripted("from elsewhere")
    second.open.set()
    _, [pair] = drawn_pairs(tmp_path, backend, RULE, second=second)
    assert ({pair.a.text, pair.b.text}, pair.drawn) == ({"first", "from elsewhere"}, "upstream")
    assert backend.asked == []


def test_another_reply_is_asked_for_as_the_client_asked_for_the_first() -> None:
    prompt = (Message(role="user", content="when ?"),)
    sent = {"model": "champion", "messages": ASKED, "max_tokens": 5}
    assert Question(prompt, Sampling(), sent=sent).again(2**40 + 3, temperature=1.0).sent == sent
    more = {"n": 2, "logprobs": True, "seed": 7, "temperature": 0, "tools": [{"type": "function"}], "tool_choice": "auto"}
    again = Question(prompt, Sampling(seed=7, temperature=0), 2, 0, sent | more).again(2**40 + 3, temperature=0.9)
    assert again.sent == sent | {"seed": 3, "temperature": 0.9, "tools": [{"type": "function"}], "tool_choice": "none"}
    assert (again.n, again.top_logprobs, again.sampling) == (1, None, Sampling(seed=2**40 + 3, temperature=0.9))


def test_replies_beyond_the_queue_limit_get_no_pair_id(tmp_path: Path) -> None:
    rule = PairingRule(share=1.0, waiting=2, draws=1, temperature=1.0)
    offered, pairs = drawn_pairs(tmp_path, Scripted("x", "y"), rule, replies=4)
    assert [pair_id is None for pair_id in offered] == [False, False, True, True]
    assert {pair.pair_id for pair in pairs} == set(offered[:2])


def test_the_pairing_share_is_met_and_recorded(tmp_path: Path) -> None:
    ids = [new_id() for _ in range(4000)]
    share = sum(chosen(reply_id, 0.3) for reply_id in ids) / len(ids)
    assert abs(share - 0.3) < 0.03  # four standard errors
    assert [chosen(i, 0.3) for i in ids] == [chosen(i, 0.3) for i in ids]
    assert all(chosen(i, 1.0) for i in ids)
    assert not any(chosen(i, 0.0) for i in ids)

    rule = PairingRule(share=0.999999, waiting=10, draws=1, temperature=1.0)
    _, [pair] = drawn_pairs(tmp_path, Scripted("second"), rule)
    assert pair.probability == 0.999999


@given(st.uuids(), st.floats(0, 1), st.floats(0, 1))
@trying(max_examples=examples(50))
def test_a_greater_share_chooses_whatever_a_smaller_one_does(reply_id: UUID, one: float, other: float) -> None:
    small, great = sorted((one, other))
    assert chosen(reply_id, great) or not chosen(reply_id, small)
    assert pair_of(reply_id) == pair_of(reply_id) != reply_id


def test_candidates_are_admitted_first_and_second_responses_take_at_most_half_of_the_slots(tiny_model: Path) -> None:
    from serving.models.scheduler import Asked, Policies, Scheduler, Served
    from trainers.models.policy import load_policy
    from trainers.models.sampler import Draw

    served = Served("base", load_policy(str(tiny_model)))
    scheduler = Scheduler(capacity=4)
    answered: list[str] = []

    def draw(name: str, tokens: int, seed: int) -> Draw:
        sampling = Sampling(max_tokens=tokens, seed=seed, top_p=0.9)
        return Draw([1, 6, 9, 10], sampling, tokens, lambda item: answered.append(name) if isinstance(item, Reply) else None, pieces=False)

    def under_way() -> int:
        return sum(len(batch.draws) for batch in scheduler.batches)

    seconds = [draw("second", 60, seed) for seed in range(4)]
    scheduler.patient.extend(Asked(second, None) for second in seconds)
    scheduler.step(Policies(served))
    assert under_way() == 2  # with nobody else there
    scheduler.waiting.extend(Asked(draw("candidate", 20, seed), None) for seed in range(6))  # more than fit at a time
    scheduler.step(Policies(served))
    assert under_way() == 4
    while answered.count("candidate") < 6:
        assert not (scheduler.waiting and under_way() < 2)
        assert sum(bool(second.tokens) for second in seconds if not second.cancelled) <= 2
        scheduler.step(Policies(served))
    while scheduler.busy():
        scheduler.step(Policies(served))
    assert answered.count("second") == 4
