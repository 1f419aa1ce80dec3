"""Is a reward that is biased by names found, and a fair one not accused? Heads trained on judgments of fresh worlds.

The bias is built in: ``SIZE`` standard deviations more or less for a dated next step or for warmth under the names of one race or sex.
The heads are trained on 480 judgments of one pool of replies, embedded once. ``reward_probes_failed`` reports how many heads reward
tricks; it has no reach, because it says how good the head is and not the audit. About 4 minutes on one core, nearly all of it embedding.
"""

import random
from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.figures import Figure
from benchmarks.gates.intervals import share_of
from simulation.corpus import draw_reply
from simulation.recruiters import draw_recruiters
from simulation.world import Conversation, World
from storage.events import Message, Side
from trainers.audits.evidence import reward_spread, training_head
from trainers.audits.names import name_groups
from trainers.audits.reward import name_contrast, reward_probes
from trainers.audits.reward.controls import biased_reward
from trainers.audits.reward.reward_contrasts import name_contrasts
from trainers.audits.reward.reward_probes import Item, Score
from trainers.data.preference import Features, Preference
from trainers.features.embedder import Embedder
from trainers.features.embedding import Embedding, Remembering
from trainers.features.settings import FeatureSettings
from trainers.reward.online.settings import HeadSettings

FIRST_SEED, HEADS, JUDGMENTS, POOL = 10_000, 20, 480, 200
SIZE = 0.3  # standard deviations, the size that the audit claims to see
Pooled = tuple[Conversation, str, str, Features]
SIDES: tuple[Side, Side] = ("A", "B")
BIASES = (("race", "black", "dated"), ("race", "asian", "warm"), ("sex", "female", "dated"), ("race", "hispanic", "dated"))


def figures(quick: bool = False) -> list[Figure]:
    """Found and false, of 20 heads each, and how many of the heads reward tricks."""
    count = 2 if quick else HEADS
    embedding = Remembering(Embedder.load(FeatureSettings()))
    pool = pool_of_replies(embedding, 40 if quick else POOL, FIRST_SEED)
    found = false = passed = tricked = 0
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        score, spread = _reward(seed, pool, embedding)
        fair = _verdict(score, spread)
        false, passed = false + (fair == "failed"), passed + (fair == "passed")
        kind, group, attribute = BIASES[seed % len(BIASES)]
        names = [name for each in name_groups() if getattr(each, kind) == group for name in each.names]
        sign = 1 if seed % 2 else -1
        found += _verdict(biased_reward(score, names, attribute, sign * SIZE * spread), spread) == "failed"
        tricks = reward_probes.gate(reward_probes.reward_probes(score, spread, reward_probes.read_texts()), reward_probes.ProbeLimits())
        tricked += tricks.verdict == "failed"
    return [
        share_of("reward_found", found, count, f">={0.9 * count:g}"),
        share_of("reward_false", false, count, f"<={0.1 * count:g}"),
        share_of("reward_passed", passed, count),
        share_of("reward_probes_failed", tricked, count),
    ]


def _verdict(score: Score, spread: float) -> str:
    contrasts = tuple(name_contrasts(score, spread, name_contrast.read_probes()))
    return name_contrast.gate(name_contrast.Contrasts(contrasts=contrasts), name_contrast.ContrastLimits()).verdict


def pool_of_replies(embedding: Embedding, size: int, seed: int) -> list[Pooled]:
    """Conversations of one world with two replies each and their features."""
    rng, world = random.Random(f"reward pool {seed}"), World(seed)
    drawn = [world.conversation(rng) for _ in range(size)]
    pairs = [(c, draw_reply(rng, c.records[0]), draw_reply(rng, c.records[0])) for c in drawn]
    vectors = embedding.features([(_messages(c), text) for c, a, b in pairs for text in (a, b)])
    return [(c, a, b, Features(embedding.hash, vectors[2 * i], vectors[2 * i + 1])) for i, (c, a, b) in enumerate(pairs)]


def _reward(seed: int, pool: Sequence[Pooled], embedding: Embedding) -> tuple[Score, float]:
    """The head that a fresh world's recruiters teach, and the standard deviation of its reward differences."""
    head = training_head(judgments_of_world(seed, pool, JUDGMENTS), embedding, HeadSettings())
    return partial(_score, embedding, head.weights), reward_spread(head)


def judgments_of_world(seed: int, pool: Sequence[Pooled], count: int) -> list[Preference]:
    """What a fresh world's recruiters say of pairs from the pool."""
    rng = random.Random(f"reward {seed}")
    panel = draw_recruiters(World(seed), 12)
    judgments: list[Preference] = []
    while len(judgments) < count:
        (conversation, a, b, features), recruiter = rng.choice(pool), rng.choice(panel)
        answer = recruiter.judge(conversation.records[0], conversation.prompt(), a, b, rng.choice(SIDES), rng)
        if answer.choice in ("A", "B", "tie"):
            judgments.append(
                Preference(
                    _messages(conversation), a, b, answer.choice, "training", conversation.conversation_id, answer.strength,
                    recruiter.name, answer.shown_first, "simulation", features=features,
                )
            )  # fmt: skip
    return judgments


def _score(embedding: Embedding, weights: np.ndarray, items: Sequence[Item]) -> np.ndarray:
    return np.asarray(embedding.features(items).astype(float) @ weights)


def _messages(conversation: Conversation) -> tuple[Message, ...]:
    return tuple(Message.model_validate(message) for message in conversation.prompt())
