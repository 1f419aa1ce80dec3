"""Synthetic panels: recruiters with known tastes, the replies that they judge, and the truth about what they prefer.

Each panel has 8 to 12 recruiters with a shared and an own taste for four attributes of a reply and for traits that no attribute names. They
answer with their own scale, cut points and pull of the side shown first; they lapse, and one in six clicks at random. Replies are features
whose spectrum is that of judged replies under the shipped whitening: a few strong directions and a long tail. The truth is the mean over
recruiters of the chance that they answer in favour of the challenger, ties half, no side first, on 20,000 fresh prompts.
"""

from dataclasses import dataclass

import numpy as np

from trainers.reward.panel import Judged

DIMENSIONS, ATTRIBUTES = 60, 4
LENGTH = 1.32  # mean squared length of a difference between two judged replies
SPECTRUM = np.concatenate([[0.088, 0.082, 0.078, 0.062], 0.69 * (tail := np.arange(3.0, 59.0) ** -0.7) / tail.sum()])
STEPS = np.sqrt(2 * LENGTH * SPECTRUM[:ATTRIBUTES])  # an attribute is there in half of the replies: variance of a difference step²/2
TASTED = ATTRIBUTES + 8  # the first dimensions, beyond which nobody has a taste
CUTS = np.array([0.6, 1.4, 2.3, 3.4])
CLICKED = (0.4, 0.2, 0.4)  # answers of a recruiter who clicks at random: B, tie, A


@dataclass(frozen=True)
class Panel:
    """Recruiters: tastes ``(K, d)``, cut points ``(K, 4)``, pulls of the first side and shares of random clicks ``(K,)``."""

    tastes: np.ndarray
    cuts: np.ndarray
    pull: np.ndarray
    lapse: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, *, shared: float, own: float, least: int = 8) -> "Panel":
        """Tastes of standard deviation ``shared`` and ``own`` logits an attribute; a quarter of it for eight unnamed traits.

        Parameters
        ----------
        least : number of recruiters, to which up to four are added
        """
        count = int(rng.integers(least, least + 5))
        unit = np.zeros(DIMENSIONS)
        unit[:ATTRIBUTES] = 1 / STEPS
        unit[ATTRIBUTES:TASTED] = 0.25 / np.sqrt(LENGTH * SPECTRUM[ATTRIBUTES:TASTED])
        taste = shared * rng.standard_normal(DIMENSIONS) + own * rng.standard_normal((count, DIMENSIONS))
        lapse = rng.beta(1, 9, count)
        lapse[3::6] = 1
        return cls(
            tastes=np.exp(rng.normal(0, 0.2, (count, 1))) * taste * unit,
            cuts=CUTS * np.exp(rng.normal(0, 0.15, (count, 1))),
            pull=rng.normal(0.15, 0.3, count),
            lapse=lapse,
        )

    def judge(self, rng: np.random.Generator, n: int) -> Judged:
        """Judgments of pairs of the champion's replies; some recruiters judge more than others, some conversations twice."""
        count = len(self.pull)
        who = np.concatenate([np.arange(count), rng.choice(count, size=n - count, p=rng.dirichlet(np.full(count, 8.0)))])
        differences, position = replies(rng, n) - replies(rng, n), rng.choice([-1, 1], n)
        leaning = (differences * self.tastes[who]).sum(axis=1) + position * self.pull[who] + rng.logistic(size=n)
        level = np.sign(leaning) * (np.abs(leaning)[:, None] > self.cuts[who]).sum(axis=1)
        clicked = rng.choice([-1, 0, 1], n, p=CLICKED) * rng.integers(1, 5, n)
        level = np.where(rng.random(n) < self.lapse[who], clicked, level).astype(int)
        names, conversations = np.array([f"r-{k:02d}" for k in who]), np.array([f"c-{i}" for i in rng.integers(4 * n, size=n)])
        return Judged(differences, level, level, position, names, conversations)

    def truth(self, differences: np.ndarray) -> float:
        """The panel's win rate over ``differences``, ``(m, d)`` or only the first ``(m, TASTED)``."""
        return float(self.answers(differences)[0].mean())

    def answers(self, differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each recruiter's win rate and share of ties over ``differences``, ``(K,)`` each, no side shown first."""
        z, tie = differences @ self.tastes[:, : differences.shape[1]].T, self.cuts[:, 0]
        below, above = _expit(z - tie).mean(axis=0), _expit(z + tie).mean(axis=0)
        wins, ties = 0.5 * (below + above), above - below
        return (1 - self.lapse) * wins + self.lapse / 2, (1 - self.lapse) * ties + self.lapse * CLICKED[1]


def replies(rng: np.random.Generator, n: int, chances: np.ndarray | float = 0.5, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Features of ``n`` replies, ``(n, d)``; only the first ``dimensions`` of them if the rest does not matter."""
    found = rng.standard_normal((n, dimensions)) * np.sqrt(LENGTH * SPECTRUM[:dimensions] / 2)
    found[:, :ATTRIBUTES] = (rng.random((n, ATTRIBUTES)) < chances) * STEPS
    return found


def _expit(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -50, 50))))
