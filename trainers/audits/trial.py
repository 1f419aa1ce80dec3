"""Hold a challenger against a champion: the two models' replies to the same prompts in, evidence out.

The pipeline and the offline command both end here. Embedding is the slowest part: a text is embedded once, and where both models said the
same, not at all.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from storage.errors import DataRefused
from storage.events import Message
from trainers.audits import facts
from trainers.audits.evidence import Embedding, judged, reward_spread, stored_features, training_head
from trainers.audits.kl import Divergence, kl
from trainers.audits.name_swap import Contrast, name_contrasts, read_probes
from trainers.audits.settings import EvaluationSettings
from trainers.audits.win_rate import WinRate, win_rate
from trainers.data.preference import Preference
from trainers.models.generation import Policy
from trainers.reward.evaluation_head import EvaluationHeadSettings
from trainers.reward.online.learn import HeadSettings
from trainers.runs.report import PairedReply

AT_ONCE = 128  # texts embedded between two words about progress


@dataclass(frozen=True)
class Replies:
    """Prompts, the challenger's and the champion's reply to each, and the champion's second one to the first few."""

    prompts: tuple[tuple[Message, ...], ...]
    challenger: tuple[str, ...]
    champion: tuple[str, ...]
    again: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What a trial found; the lists say of each reply (challenger's, champion's) whether something is wrong with it."""

    win_rate: WinRate
    kl_base: Divergence
    kl_champion: Divergence
    wrong: tuple[list[bool], list[bool]]
    wrong_examples: tuple[str, ...]
    improper: tuple[list[bool], list[bool]]
    improper_examples: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    replies: tuple[PairedReply, ...]
    embedding: str
    embedding_hash: str
    reward_head: str


def try_out(
    replies: Replies,
    preferences: Sequence[Preference],
    embedding: Embedding,
    policies: tuple[Policy, Policy, Policy],
    settings: EvaluationSettings,
    learning: HeadSettings,
    challengers_before: int,
    progress: Callable[[int, int], None],
) -> Found:
    """Everything that gates ask for.

    Parameters
    ----------
    preferences : both strata; the training one's head is audited for names, the evaluation one's says who wins
    policies : challenger, champion and base; champion and base may be the same object

    Raises
    ------
    DataRefused
        The evaluation stratum holds no prompts or no judgments to judge by.
    """
    if not replies.prompts:
        raise DataRefused("the evaluation stratum holds no prompts yet: nothing can be compared")
    challenger, champion, base = policies
    differing = [i for i, (ours, theirs) in enumerate(zip(replies.challenger, replies.champion, strict=True)) if ours != theirs]
    items = [(replies.prompts[i], text) for i in differing for text in (replies.challenger[i], replies.champion[i])]
    twice = [i for i, text in enumerate(replies.again) if text != replies.champion[i]]
    items += [(replies.prompts[i], text) for i in twice for text in (replies.champion[i], replies.again[i])]
    unique = list(dict.fromkeys(items))
    vectors = stored_features(preferences, embedding)
    unique = [item for item in unique if item not in vectors]
    steps = 5 + -(-len(unique) // AT_ONCE)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, steps)

    for start in range(0, len(unique), AT_ONCE):
        chunk = unique[start : start + AT_ONCE]
        vectors.update(zip(chunk, embedding.features(chunk), strict=True))
        step()
    head = training_head(preferences, embedding, learning)
    held, seen = judged(preferences, embedding)
    if not len(held):
        raise DataRefused("the evaluation stratum holds no judgments yet: nobody can say which replies are better")
    step()
    zero = np.zeros(embedding.dimension, "<f4")

    def stacked(texts: Sequence[str]) -> np.ndarray:
        # what both said has a difference of zero whatever its features are
        return np.stack([vectors.get((prompt, text), zero) for prompt, text in zip(replies.prompts, texts, strict=False)])

    ours, theirs = stacked(replies.challenger), stacked(replies.champion)
    for i in set(range(len(ours))) - set(differing):
        ours[i] = theirs[i]
    again = stacked(replies.again) if replies.again else None
    if again is not None:
        for i, text in enumerate(replies.again):
            if text == replies.champion[i]:
                again[i] = theirs[i]
    lengths = np.array([np.log1p(len(a)) - np.log1p(len(b)) for a, b in zip(replies.challenger, replies.champion, strict=True)])
    rate, differences = win_rate(
        held,
        ours,
        theirs,
        again,
        lengths,
        seen,
        challengers_before=challengers_before,
        alpha=settings.alpha,
        resamples=settings.resamples,
        head=EvaluationHeadSettings(head=learning),
        seed=settings.seed,
    )
    step()
    contrasts = name_contrasts(embedding.features, head.weights, reward_spread(head), read_probes(), names=settings.names)
    step()
    some = slice(0, settings.kl_prompts)
    kl_base = kl(challenger, base, replies.prompts[some], replies.challenger[some])
    kl_champion = kl_base if champion is base else kl(challenger, champion, replies.prompts[some], replies.challenger[some])
    step()
    values = facts.values_of(replies.prompts)
    read_ours = [facts.read(prompt, text, values) for prompt, text in zip(replies.prompts, replies.challenger, strict=True)]
    read_theirs = [facts.read(prompt, text, values) for prompt, text in zip(replies.prompts, replies.champion, strict=True)]
    step()
    return Found(
        win_rate=rate,
        kl_base=kl_base,
        kl_champion=kl_champion,
        wrong=([bool(r.unsupported) for r in read_ours], [bool(r.unsupported) for r in read_theirs]),
        wrong_examples=_examples((r.unsupported, text) for r, text in zip(read_ours, replies.challenger, strict=True)),
        improper=([bool(r.unlawful or r.promises) for r in read_ours], [bool(r.unlawful or r.promises) for r in read_theirs]),
        improper_examples=_examples((r.unlawful + r.promises, text) for r, text in zip(read_ours, replies.challenger, strict=True)),
        contrasts=tuple(contrasts),
        replies=_ten(replies, differences, settings.seed),
        embedding=embedding.name,
        embedding_hash=embedding.hash,
        reward_head=head.head_id,
    )


def _examples(found: Iterable[tuple[tuple[str, ...], str]]) -> tuple[str, ...]:
    return tuple(f"{'; '.join(what)}: {text}"[:500] for what, text in found if what)[:5]


def _ten(replies: Replies, differences: np.ndarray, seed: int) -> tuple[PairedReply, ...]:
    """Five pairs that are worst for the challenger, and five others at random."""
    order = np.argsort(differences, kind="stable")
    worst = [int(i) for i in order[:5]]
    others = [int(i) for i in order[5:]]
    drawn = np.random.default_rng(seed).permutation(len(others))[:5]
    chosen = [(i, "worst") for i in worst] + [(others[j], "random") for j in drawn]
    return tuple(
        PairedReply(
            prompt=replies.prompts[i],
            challenger=replies.challenger[i],
            champion=replies.champion[i],
            reward_difference=float(differences[i]),
            chosen_as="worst" if how == "worst" else "random",
        )
        for i, how in chosen
    )
