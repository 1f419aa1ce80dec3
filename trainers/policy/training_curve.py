"""How a training moved away from its reference: what the governor measured at each check. Imports no torch; the report holds it."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict


class CurvePoint(BaseModel):
    """One check, on the same prompts each time.

    Attributes
    ----------
    step : optimisation steps before the check; 0 is the reference
    kl : mean KL from the reference, in nats per reply
    proxy, second : mean of the reward that is optimised, and of the second reward, minus those of the reference, in standard deviations of
        the reference's; ``second`` is None without one
    length : mean tokens of a reply
    entropy : mean nats of a token
    wrong_facts : share of replies that state something their prompt does not support; None where no prompt has facts
    kept : whether this is the policy that the run returned
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    step: int
    kl: float
    proxy: float
    second: float | None
    length: float
    entropy: float
    wrong_facts: float | None = None
    kept: bool = False


def fitted_law(distances: Sequence[float], rewards: Sequence[float]) -> tuple[float, float]:
    """(alpha, beta) of R(x) = x (alpha - beta ln x) with x = sqrt(KL), by least squares.

    Gao, Schulman and Hilton 2022, arXiv:2210.10760, the law for reinforcement learning.

    Raises
    ------
    ValueError
        There are fewer than two points away from the reference.
    """
    x, y = np.asarray(distances, float), np.asarray(rewards, float)
    moved = x > 0
    if moved.sum() < 2:
        raise ValueError("at least two points with x > 0 are needed")
    x, y = x[moved], y[moved]
    found, *_ = np.linalg.lstsq(np.stack([x, -x * np.log(x)], axis=1), y, rcond=None)
    return float(found[0]), float(found[1])


def law(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """R(x), ``(n,)``; 0 at x = 0."""
    safe = np.maximum(x, 1e-12)
    return np.asarray(safe * (alpha - beta * np.log(safe)))


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n from the policy it draws from: ln n - (n - 1) / n."""
    return float(np.log(n) - (n - 1) / n)
