"""Ends a training whose loss or weights are no longer finite numbers, before an adapter of NaNs is written and served."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from storage.errors import Diverged

if TYPE_CHECKING:
    from torch import Tensor


def check_step(step: int, steps: int, logs: Mapping[str, float], learning_rate: float) -> None:
    """Raise if what a trainer logged at this step has a loss that is not finite, or a gradient that is NaN.

    Raises
    ------
    Diverged
        Says at which step, and what to lower.
    """
    loss, norm = float(logs.get("loss", 0.0)), float(logs.get("grad_norm", 0.0))
    if math.isfinite(loss) and not math.isnan(norm):
        return
    what = f"the loss is {loss}" if not math.isfinite(loss) else "the gradient is NaN"
    if step <= 1:
        raise Diverged(
            f"{what} at the first step of {steps}, before anything was learnt: the base model gives no finite numbers; check its weights, "
            "or set precision = 'fp32'"
        )
    raise Diverged(f"{what} at step {step} of {steps}; no adapter was written: lower learning_rate = {learning_rate:g} and start again")


def check_weights(weights: Iterable["Tensor"]) -> None:
    """Raise if a finished adapter has a weight that is not finite.

    Raises
    ------
    Diverged
        Says what to lower.
    """
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise Diverged("the trained weights are not finite numbers; no adapter was written: lower learning_rate and start again")
