"""A second opinion on the policy during training: a reward with more features, fitted to judgments that the first one has not seen.

It is never optimised, and is fitted to other recruiters' judgments, so a policy that gains by the errors of the first reward does not gain
by it. The features are the embedding of the first reward and, besides, words and pairs of words of the reply, weighted by TF-IDF, and its
length. The weights are a logistic regression on differences (Bradley and Terry 1952). Facts in a reply that its prompt does not support
cost ``FACTS`` standard deviations of the learned part each: a hundred judgments hold too few of them to learn that. In log-odds their price
would depend on how many judgments there are, since with few of them the learned part is shrunk to a fraction of its true size: in a
simulated world of seed 902 to a quarter, so that a price of 3 hid a gain of 1.1 in the true taste.

A hundred judgments say little about a thousand words, so the model is fitted to resampled judgments too: what these fits disagree about is
not known.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainers.data.preference import Preference
from trainers.features.embedder import Embedder
from trainers.features.embedding import Item
from trainers.policy.reward_sources import facts

SHARE = 1 / 3  # of the recruiters, or of the conversations, that are held out
LEAST_RECRUITERS = 4  # fewer are not split: the judgments are, by conversation
LEAST_JUDGMENTS = 40
RESAMPLED = 30  # fits to judgments drawn with replacement
FACTS = 2.0  # standard deviations of the learned part over the judged replies
WORDS = 0.5  # scale of the words beside the embedding: they are many, so at 1 they have most of the variance and add little


@dataclass(frozen=True)
class Halves:
    """The judgments of the first reward, and those held out for the second; ``by`` is what they were split by."""

    first: tuple[Preference, ...]
    held_out: tuple[Preference, ...]
    by: str


def split(preferences: Sequence[Preference]) -> Halves:
    """Hold out about a third of the recruiters, the same ones whatever the order; where there are fewer than four, of the conversations."""
    recruiters = sorted({each.recruiter for each in preferences if each.recruiter}, key=_hashed)
    if len(recruiters) >= LEAST_RECRUITERS:
        chosen = set(recruiters[: max(1, round(SHARE * len(recruiters)))])
        held_out = [each.recruiter in chosen for each in preferences]
        by = "recruiters"
    else:
        held_out = [_hashed(each.conversation_id) < SHARE for each in preferences]
        by = "conversations"
    return Halves(
        tuple(each for each, out in zip(preferences, held_out, strict=True) if not out),
        tuple(each for each, out in zip(preferences, held_out, strict=True) if out),
        by,
    )


class SecondReward:
    """The fitted model.

    Attributes
    ----------
    weights : ``(1 + RESAMPLED, features)``, the fit to all judgments first
    spread : the standard deviation of each fit's rewards of the judged replies, ``(1 + RESAMPLED,)``
    """

    def __init__(self, embedder: Embedder, words: Any) -> None:
        self._embedder, self._words = embedder, words
        self.weights, self.spread = np.empty((0, 0)), np.empty(0)

    @classmethod
    def fit(cls, preferences: Sequence[Preference], embedder: Embedder, seed: int = 0) -> "SecondReward | None":
        """Fit to decisive preferences; None where there are fewer than ``LEAST_JUDGMENTS``."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

        decisive = [each for each in preferences if each.choice in ("A", "B")]
        if len(decisive) < LEAST_JUDGMENTS:
            return None
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[?!]")
        words.fit([text for each in decisive for text in (each.a, each.b)])
        found = cls(embedder, words)
        flipped = np.where(np.arange(len(decisive)) % 2 == 0, 1.0, -1.0)  # both classes are needed
        better, worse = zip(*(((each.prompt, each.chosen), (each.prompt, each.rejected)) for each in decisive), strict=True)
        preferred, rejected = found._features(better), found._features(worse)
        differences = (preferred - rejected) * flipped[:, None]
        chosen = LogisticRegressionCV(
            Cs=np.logspace(-2, 2, 9),
            cv=5,
            l1_ratios=(0.0,),
            fit_intercept=False,
            scoring="neg_log_loss",
            max_iter=2_000,
            use_legacy_attributes=False,
        )
        chosen.fit(differences, flipped > 0)
        rng, fits = np.random.default_rng(seed), [chosen.coef_[0]]
        while len(fits) <= RESAMPLED:
            rows = rng.integers(len(decisive), size=len(decisive))
            if len(set(flipped[rows])) == 2:
                model = LogisticRegression(C=float(chosen.C_), fit_intercept=False, max_iter=2_000)
                fits.append(model.fit(differences[rows], flipped[rows] > 0).coef_[0])
        found.weights = np.array(fits)
        found.spread = (np.vstack([preferred, rejected]) @ found.weights.T).std(axis=0)
        return found

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        """Rewards of (prompt, reply) pairs in log-odds by each fit, ``(1 + RESAMPLED, n)``."""
        return np.asarray(self.weights @ self._features(items).T + FACTS * self.spread[:, None] * facts(items))

    def _features(self, items: Sequence[Item]) -> np.ndarray:
        counts = self._words.transform([reply for _, reply in items]).toarray()
        lengths = np.log1p([len(reply.split()) for _, reply in items])[:, None]
        return np.hstack([WORDS * counts, lengths, self._embedder.features(items)])


def _hashed(text: str) -> float:
    """A number in [0, 1) derived from the text."""
    return int.from_bytes(hashlib.sha256(f"second reward {text}".encode()).digest()[:8], "big") / 2**64
