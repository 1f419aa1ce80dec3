"""What a busy loop puts on the log, made up: for each pair a reply, the pair, its features and a judgment.

The features are random numbers, as many and as large as the shipped embedding's: the difference of two replies has a length of about one.
So a judgment can be joined and learnt without embedding anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from storage.events import Event, JudgmentGiven, Message, PairDrawn, PairEmbedded, ReplySent, Response, Sampling, derived_id, new_id, pack
from storage.strata import stratum_of

DIMENSION = 393  # of the shipped features
SYSTEM = "Answer the candidate by these facts.\nCandidate: Katelyn\nRole: Bus Driver\nEmployer: Maple Transit\nStage: first interview"
TEXT = "Hello Katelyn, here is what we have. We have read your file. Your application for Bus Driver is now at first interview."


@dataclass(frozen=True)
class JudgedPair:
    """One pair's events in the order in which they come about."""

    reply: ReplySent
    pair: PairDrawn
    features: PairEmbedded
    judgment: JudgmentGiven

    @property
    def events(self) -> list[Event]:
        return [self.reply, self.pair, self.features, self.judgment]


def judged_pairs(rng: np.random.Generator, *, first: int = 0, embedding_hash: str = "e" * 64) -> Iterator[JudgedPair]:
    """Without end, each in a conversation of its own; the learner takes those whose ``embedding_hash`` is its embedder's."""
    i = first
    while True:
        yield _judged_pair(i, rng, embedding_hash)
        i += 1


def drawn_pair(i: int) -> PairDrawn:
    """The pair alone, in the conversation of that number; no two are the same text, so an embedder finds none in its cache."""
    conversation = f"conversation-{i}"
    return PairDrawn(
        source="product", pair_id=new_id(), conversation_id=conversation, prompt=_prompt(i), drawn="sampled", probability=1.0,
        stratum=stratum_of(conversation),
        a=Response(text=f"{TEXT} ({i})", version="base"), b=Response(text=f"{TEXT} More soon. ({i})", version="base"),
    )  # fmt: skip


def embedding_in_use() -> str:
    """The hash of the embedding that a processor on its defaults has."""
    from trainers.features.embedder import Embedder
    from trainers.features.settings import FeatureSettings

    return Embedder.load(FeatureSettings()).hash


def _judged_pair(i: int, rng: np.random.Generator, embedding_hash: str) -> JudgedPair:
    pair = drawn_pair(i)
    return JudgedPair(
        reply=ReplySent(
            source="product", conversation_id=pair.conversation_id, prompt=pair.prompt, reply=pair.a.text, version="base",
            sampling=Sampling(), stratum=pair.stratum,
        ),
        pair=pair,
        features=PairEmbedded(
            event_id=derived_id("PairEmbedded", pair.pair_id, embedding_hash), source="product", pair_id=pair.pair_id, embedding="MiniLM",
            embedding_hash=embedding_hash, a=_vector(rng), b=_vector(rng),
        ),
        judgment=JudgmentGiven(
            source="product", pair_id=pair.pair_id, recruiter=f"r-{i % 50}", choice="AB"[i % 2], strength=1 + i % 4, shown_first="A",
            seconds=3.5,
        ),
    )  # fmt: skip


def _vector(rng: np.random.Generator) -> str:
    return pack(rng.standard_normal(DIMENSION) / np.sqrt(2 * DIMENSION))


def _prompt(i: int) -> tuple[Message, ...]:
    return (Message(role="system", content=SYSTEM), Message(role="user", content=f"Hello, is there news of application {i}?"))
