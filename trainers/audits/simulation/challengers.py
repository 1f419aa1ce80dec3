"""Synthetic challengers: models whose replies a synthetic panel prefers, or does not, at a known rate."""

from dataclasses import dataclass

import numpy as np

from trainers.audits.simulation.panels import ATTRIBUTES, DIMENSIONS, SPECTRUM, TASTED, Panel, replies


@dataclass(frozen=True)
class Challenger:
    """A model whose replies have the attributes with other chances, ``(4,)``, and a style of their own, ``(d,)``."""

    chances: np.ndarray
    style: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, panel: Panel, size: float) -> "Challenger":
        """``size`` in -1 … 1: how far it goes towards what the panel prefers, in a mix of attributes of its own; 0 is no attribute."""
        mix = np.sign(panel.tastes.mean(axis=0)[:ATTRIBUTES]) * rng.dirichlet(np.full(ATTRIBUTES, 2.0))
        return cls(np.clip(0.5 + 2 * size * mix, 0.02, 0.98), 0.15 * rng.standard_normal(DIMENSIONS) * np.sqrt(SPECTRUM))

    def replies(self, rng: np.random.Generator, n: int, dimensions: int = DIMENSIONS) -> np.ndarray:
        return np.asarray(replies(rng, n, self.chances, dimensions) + self.style[:dimensions])

    def differences(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Features of its replies minus those of the champion's, where they matter to anyone: ``(n, TASTED)``."""
        return np.asarray(self.replies(rng, n, TASTED) - replies(rng, n, dimensions=TASTED))

    def truth(self, rng: np.random.Generator, panel: Panel, n: int = 20_000) -> float:
        return panel.truth(self.differences(rng, n))


def that_wins(
    rng: np.random.Generator, rate: float, *, shared: float = 1.0, own: float = 0.3, least: int = 8, smallest: float = 0.0
) -> tuple[Panel, Challenger]:
    """A panel and a challenger with this true win rate, by bisection on its size; panels that no challenger convinces are drawn again.

    Parameters
    ----------
    shared, own, least : of the panel, see :meth:`Panel.draw`
    smallest : size to begin at; 0 for rates above one half, -1.5 for any
    """
    while True:
        panel = Panel.draw(rng, shared=shared, own=own, least=least)
        state = rng.bit_generator.state
        low, high = smallest, 1.5
        for _ in range(12):
            middle = (low + high) / 2
            rng.bit_generator.state = state
            challenger = Challenger.draw(rng, panel, middle)
            low, high = (middle, high) if challenger.truth(rng, panel, 4_000) < rate else (low, middle)
        if abs(challenger.truth(rng, panel) - rate) < 0.01:
            return panel, challenger
