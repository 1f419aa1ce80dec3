"""During a duel the challenger writes second responses, and candidates get the champion's replies until a canary begins."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from serving.duel import CurrentDuel, Duel
from serving.models.backend import Answer, Choice, Delta, Question, Unavailable, token_counts
from serving.models.generation import Options
from serving.models.local import ChallengerModel, LocalBackend, Versions
from serving.pairing import Pairing, PairingRule
from storage.events import Event, Message, PairDrawn, Sampling
from storage.strata import stratum_of
from streams.bus.sqlite import SQLiteBus
from streams.intake import Intake

KEY = b"k" * 32
ASKED = [{"role": "user", "content": "when is the interview ?"}]
RULE = PairingRule(share=1.0, waiting=1000, draws=3, temperature=0.9)
TRAINING = [name for n in range(60) if stratum_of(name := f"c-{n}", KEY) == "training"]
EVALUATION = [name for n in range(60) if stratum_of(name := f"c-{n}", KEY) == "evaluation"]


class Model:
    """Replies with its name and a number."""

    width = 2
    honoured: frozenset[str] | None = None

    def __init__(self, name: str, gone: bool = False) -> None:
        self.name, self.gone = name, gone
        self.temperatures: list[float | None] = []

    def why_not_ready(self) -> None:
        return None

    def names(self) -> tuple[str, ...]:
        return (self.name,)

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        if self.gone:
            raise Unavailable("its duel has ended")
        self.temperatures.append(question.sampling.temperature)
        return Answer(self.name, [Choice(f"{self.name} {len(self.temperatures)}", "stop")], token_counts(1, 1))

    def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        raise NotImplementedError

    async def close(self) -> None: ...


def pairs_of(
    tmp_path: Path, conversations: Sequence[str], version: str, champion: Model, challenger: Model, share: float = 0.0
) -> list[PairDrawn]:
    """The pairs made of one reply by ``version`` in each conversation, at temperature 0.3."""
    bus = SQLiteBus(tmp_path / "bus.sqlite")
    intake = Intake(bus, KEY)
    published: list[Event] = []
    publish = intake.publish

    def noted(events: Sequence[Event]) -> None:
        publish(events)
        published.extend(events)

    intake.publish = noted  # type: ignore[method-assign]
    duel = CurrentDuel()
    duel.now = Duel(challenger.name, champion.name, challenger, share)

    async def course() -> None:
        pairing = Pairing(champion, intake, RULE, duel)
        pairing.start()
        sampling = Sampling(temperature=0.3)
        for name in conversations:
            reply = await asyncio.to_thread(
                intake.reply, conversation_id=name, prompt=ASKED, reply="first", version=version, sampling=sampling
            )
            pairing.offer(reply, Question(reply.prompt, sampling))
        await pairing.stop(within=10)

    asyncio.run(course())
    bus.close()
    return [event for event in published if isinstance(event, PairDrawn)]


def test_second_responses_come_from_the_challenger_at_the_same_temperature_and_the_sides_are_mixed(tmp_path: Path) -> None:
    challenger = Model("v-1")
    pairs = pairs_of(tmp_path, TRAINING, "base", Model("base"), challenger)
    assert {pair.drawn for pair in pairs} == {"duel"}
    assert {frozenset((pair.a.version, pair.b.version)) for pair in pairs} == {frozenset(("base", "v-1"))}
    assert {pair.a.version for pair in pairs} == {"base", "v-1"}
    assert set(challenger.temperatures) == {0.3}


def test_the_evaluation_stratum_keeps_its_pairs_of_one_policy(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path, EVALUATION, "base", Model("base"), Model("v-1"))
    assert len(pairs) == len(EVALUATION) > 0
    assert {(pair.drawn, pair.a.version, pair.b.version) for pair in pairs} == {("sampled", "base", "base")}


def test_in_a_canary_the_champion_writes_the_second_response_to_the_challengers_reply(tmp_path: Path) -> None:
    champion = Model("base")
    pairs = pairs_of(tmp_path, TRAINING[:6], "v-1", champion, Model("v-1"), share=0.5)
    assert {(pair.drawn, frozenset((pair.a.version, pair.b.version))) for pair in pairs} == {("canary", frozenset(("base", "v-1")))}
    assert len(champion.temperatures) == 6


def test_a_challenger_whose_duel_has_just_ended_makes_no_pair(tmp_path: Path) -> None:
    assert pairs_of(tmp_path, TRAINING[:3], "base", Model("base"), Model("v-1", gone=True)) == []


def test_a_canarys_share_of_conversations_is_met_and_a_greater_share_keeps_those_of_a_smaller_one() -> None:
    def answered(share: float) -> set[int]:
        duel = Duel("v-1", "base", Model("v-1"), share)
        return {n for n in range(4000) if duel.answers(f"conversation-{n}")}

    few, many = answered(0.1), answered(0.3)
    assert few < many
    assert abs(len(few) / 4000 - 0.1) < 0.02
    assert answered(0.0) == set()


def test_champion_and_challenger_reply_from_batches_of_their_own_and_an_ended_duel_is_said(tiny_model: Path, adapter: Path) -> None:
    async def course() -> None:
        backend = LocalBackend(Options(str(tiny_model), 1, 4), most_waiting=20)
        backend.install("base", None)
        backend.install_challenger("v-1", adapter)
        challenger = ChallengerModel(backend, "v-1")

        def question(seed: int) -> Question:
            return Question((Message(role="user", content="yes ?"),), Sampling(max_tokens=6, seed=seed))

        asked = [model.complete(question(n)) for n in range(3) for model in (backend, challenger)]
        replies = await asyncio.gather(*asked)
        assert [reply.version for reply in replies] == ["base", "v-1"] * 3
        pieces = [piece async for piece in challenger.stream(question(1))]
        assert isinstance(pieces[-1], Answer)
        assert pieces[-1].version == "v-1"
        backend.install_challenger(None)
        with pytest.raises(Unavailable, match="v-1"):
            await challenger.complete(question(2))
        backend.install_challenger("v-1", adapter)
        backend.install("v-1", adapter)  # promoted
        assert backend.names()[0] == "v-1"
        assert backend.versions == Versions("v-1", challenger=None, standby="base")
        await backend.close()

    asyncio.run(course())
