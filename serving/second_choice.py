"""Which of several second responses makes the pair: the one that a plausible reward model would prefer.

Thompson sampling (Thompson 1933; for duels Wu and Liu 2016, "Double Thompson sampling for dueling bandits"): weights are drawn from the
online head's posterior, and the candidate with the highest reward under them is taken. A good reply is taken often, and one whose reward is
uncertain is too. One draw in ten takes a candidate at random, and the probability of every choice is recorded with the pair.
"""

import logging
from collections.abc import Sequence
from uuid import UUID

import numpy as np

from serving.models.backend import NotReady
from serving.online_reward import OnlineReward
from storage.errors import FeedbackLoopError
from storage.events import Message

log = logging.getLogger(__name__)

UNIFORM = 0.1  # probability of a candidate at random
DRAWS = 2_000  # posterior draws from which the probability of a choice is estimated


class SecondChoice:
    """Chooses among ``candidates`` second responses by the online head."""

    def __init__(self, reward: OnlineReward, candidates: int) -> None:
        self._reward, self.candidates = reward, candidates

    def choose(self, prompt: Sequence[Message], texts: Sequence[str], pair_id: UUID) -> tuple[int, float]:
        """The place of the chosen text and the probability with which it was chosen; the same for the same pair, texts and head.

        Without a head, or with one of another embedding, every text is as likely.
        """
        rng = np.random.default_rng(pair_id.int)
        n = len(texts)
        try:
            draws = self._draws(prompt, texts, rng)
        except (FeedbackLoopError, NotReady) as error:
            log.warning("second responses are chosen at random: %s", error)
            draws = None
        if draws is None:
            return int(rng.integers(n)), 1 / n
        best = np.bincount(draws.argmax(axis=1), minlength=n)
        chosen = int(rng.integers(n)) if rng.random() < UNIFORM else int(draws[0].argmax())
        return chosen, float(UNIFORM / n + (1 - UNIFORM) * best[chosen] / DRAWS)

    def _draws(self, prompt: Sequence[Message], texts: Sequence[str], rng: np.random.Generator) -> np.ndarray | None:
        """Rewards of the texts under weights from the posterior, ``(DRAWS, n)``."""
        found = self._reward.posterior(prompt, texts)
        if found is None:
            return None
        value, vector = np.linalg.eigh(found.covariance)
        root = vector * np.sqrt(np.maximum(value, 0))
        return np.asarray(found.mean + rng.standard_normal((DRAWS, len(texts))) @ root.T)
