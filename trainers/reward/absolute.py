"""Is a reply acceptable at all? The absolute term of a reward model, fitted to thumbs and to pairs judged "neither".

Preferences say which of two replies is better, and never whether either is good. The term is a logistic regression on the model's score,

    P(good | prompt, reply) = sigmoid(a + b * x),    x = (score - centre) / spread,

with the mean of judged replies' scores as the centre, because the origin of a reward is arbitrary, and the root mean square of the
difference between two judged replies as the spread. A reply whose lower bound of P(good) is below a floor is ranked after others
(``trainers.reward.guarded``), as one that the rule filter refuses.

The priors are a ~ N(0, 1.5²) and b ~ N(1, 0.5²). The first gives 95% to a P(good) of the average judged reply between 0.05 and 0.95. The
second says that a better reply is probably good more often (b > 0 with 98%) by about one log-odds for a typical difference between two
replies; the ratings may overrule it. Maximum a posteriori by Newton's method, with the Laplace approximation of the posterior's covariance
(MacKay 2003, "Information Theory, Inference, and Learning Algorithms", chapters 27 and 41).

The term sees a reply only through its score. While b > 0, it therefore changes the order of replies to one prompt only where a guard, a
floor of a mixture or the uncertainty of b itself comes between. Origins that differ between prompts blur it, which its held-out log loss
shows. All recruiters' ratings weigh the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError
from scipy.special import expit
from scipy.stats import norm

from storage.errors import ArtifactError
from storage.events import problems
from storage.strata import fold_of
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.reward.mixing import MixingSettings
from trainers.reward.reward import Reward, scores_alone

FILE = "absolute.json"
PRIOR_MEAN = np.array([0.0, 1.0])  # of a and b
PRIOR_DEVIATION = np.array([1.5, 0.5])
FOLDS = 5
NEWTON_STEPS = 100
TOLERANCE = 1e-10

Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[FiniteFloat, Field(ge=0)]


class AbsoluteTerm(BaseModel):
    """The content of ``absolute.json``. The settings are those of the training, with which the model was checked.

    Attributes
    ----------
    centre, spread : of the scores, in the model's own units
    a, b : log-odds of the average judged reply, and log-odds for one spread
    variance_a, variance_b, covariance : of a and b
    ratings, good : of the training stratum; how many of them are good
    log_loss : mean over the ratings, each predicted by a term that was fitted to the other folds' conversations, in nats
    base_log_loss : the same of their share of good ratings, (good + 1/2) / (n + 1)
    least_good, confidence : the floor, and the one-sided confidence of the lower bound that is held against it
    unused : why the term is not used as a floor; None where it is
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    centre: FiniteFloat
    spread: Annotated[FiniteFloat, Field(gt=0)]
    a: FiniteFloat
    b: FiniteFloat
    variance_a: NonNegative
    variance_b: NonNegative
    covariance: FiniteFloat
    ratings: NonNegativeInt
    good: NonNegativeInt
    log_loss: NonNegative
    base_log_loss: NonNegative
    least_good: Probability
    confidence: Probability
    unused: str | None

    @classmethod
    def learnt(
        cls, model: Reward, preferences: Sequence[Preference], ratings: Sequence[Rating], settings: MixingSettings
    ) -> "AbsoluteTerm | None":
        """The term of ``model``; None without a rating of the training stratum.

        The model itself may have been trained on preferences of the same conversations, so the held-out log loss is that of a and b only.

        Parameters
        ----------
        preferences : those that the model was trained on; their replies give centre and spread
        ratings : of both strata; only those of the training stratum are used
        """
        rated = [each for each in ratings if each.stratum == "training"]
        if not rated:
            return None
        judged = scores_alone(model, [(each.prompt, reply) for each in preferences for reply in (each.a, each.b)])
        centre = float(judged.mean()) if len(judged) else 0.0
        spread = (float(np.sqrt(((judged[::2] - judged[1::2]) ** 2).mean())) if len(judged) else 0.0) or 1.0
        x = (scores_alone(model, [(each.prompt, each.reply) for each in rated]) - centre) / spread
        good = np.array([each.good for each in rated], float)
        (a, b), covariance = most_probable(x, good)
        log_loss, base_log_loss = _held_out(x, good, np.array([fold_of(each.conversation_id, FOLDS) for each in rated]))
        term = cls(
            centre=centre,
            spread=spread,
            a=a,
            b=b,
            variance_a=covariance[0, 0],
            variance_b=covariance[1, 1],
            covariance=covariance[0, 1],
            ratings=len(rated),
            good=int(good.sum()),
            log_loss=log_loss,
            base_log_loss=base_log_loss,
            least_good=settings.least_good,
            confidence=settings.confidence,
            unused=None,
        )
        return term.model_copy(update={"unused": term._objection(settings.least_ratings)})

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """P(good) at the most probable a and b, for scores as of :func:`trainers.reward.reward.scores_alone`, ``(n,)``."""
        return np.asarray(expit(self.a + self.b * self._x(scores)))

    def lower_bound(self, scores: np.ndarray) -> np.ndarray:
        """The one-sided lower bound of P(good) at ``confidence``, ``(n,)``."""
        x = self._x(scores)
        variance = np.maximum(self.variance_a + 2 * self.covariance * x + self.variance_b * x**2, 0)
        return np.asarray(expit(self.a + self.b * x - float(norm.ppf(self.confidence)) * np.sqrt(variance)))

    def below_floor(self, scores: np.ndarray) -> np.ndarray:
        """Whether the lower bound is below the floor, ``(n,)``; never where the term is not used."""
        return np.zeros(len(scores), bool) if self.unused is not None else self.lower_bound(scores) < self.least_good

    def as_text(self) -> str:
        """The term as one line."""
        found = f"a {self.a:.2f}, b {self.b:.2f} from {self.ratings} ratings, {self.good} of them good"
        losses = f"held-out log loss {self.log_loss:.3f}, base rate {self.base_log_loss:.3f}"
        floor = f"in use as a floor: a reply whose P(good) may be below {self.least_good:g} ranks last"
        return f"absolute term: {found}; {losses}; {floor if self.unused is None else f'not in use as a floor: {self.unused}'}"

    def save(self, folder: Path) -> None:
        """Write ``absolute.json`` to the folder."""
        (folder / FILE).write_bytes(orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, folder: Path) -> "AbsoluteTerm | None":
        """The term that was saved in the folder; None if none was.

        Raises
        ------
        ArtifactError
            The file cannot be read.
        """
        if not (folder / FILE).is_file():
            return None
        try:
            return cls.model_validate_json((folder / FILE).read_bytes())
        except (OSError, ValidationError) as error:
            found = problems(error.errors()) if isinstance(error, ValidationError) else error
            raise ArtifactError(f"{folder / FILE}: no absolute term to be read there: {found}; train the model again") from error

    def _x(self, scores: np.ndarray) -> np.ndarray:
        return (np.asarray(scores, float) - self.centre) / self.spread

    def _objection(self, least_ratings: int) -> str | None:
        """Why the term must not be a floor.

        Where "neither" is given and thumbs up are not, the ratings are those of bad replies only, and the average reply would be refused.
        """
        if self.ratings < least_ratings:
            return f"{least_ratings} ratings of the training stratum are needed"
        if self.log_loss > self.base_log_loss:
            return "it predicts held-out ratings worse than their base rate"
        if self.lower_bound(np.array([self.centre]))[0] < self.least_good:
            return f"even the average judged reply would be below {self.least_good:g}, perhaps for lack of thumbs up"
        return None


def most_probable(x: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable (a, b), and the inverse of the negative log posterior's Hessian there, ``(2,)`` and ``(2, 2)``.

    Newton's method with step halving. The negative log posterior is strictly convex, so there is one optimum, whatever the ratings are.

    Parameters
    ----------
    x, good : standardised scores and 1.0 or 0.0, ``(n,)`` each; n may be 0, which gives the prior
    """
    design = np.column_stack([np.ones(len(x)), x])
    sign = 2 * good - 1
    precision = np.diag(PRIOR_DEVIATION**-2)

    def objective(at: np.ndarray) -> float:
        moved = at - PRIOR_MEAN
        return float(np.logaddexp(0, -sign * (design @ at)).sum() + moved @ precision @ moved / 2)

    def hessian(at: np.ndarray) -> np.ndarray:
        p = expit(design @ at)
        return np.asarray(design.T @ (design * (p * (1 - p))[:, None]) + precision)

    found = PRIOR_MEAN
    for _ in range(NEWTON_STEPS):
        gradient = design.T @ (expit(design @ found) - good) + precision @ (found - PRIOR_MEAN)
        step = np.linalg.solve(hessian(found), gradient)
        while objective(found - step) > objective(found) and np.abs(step).max() > TOLERANCE:
            step = step / 2
        found = found - step
        if np.abs(step).max() <= TOLERANCE:
            break
    return found, np.linalg.inv(hessian(found))


def _held_out(x: np.ndarray, good: np.ndarray, fold: np.ndarray) -> tuple[float, float]:
    """The cross-validated log loss of the term and of the base rate, both learnt from the other folds, in nats a rating.

    The base rate is the estimate of Krichevsky and Trofimov (1981), (good + 1/2) / (n + 1), which is never 0 or 1.
    """
    logits, base = np.zeros(len(x)), np.zeros(len(x))
    for one in np.unique(fold):
        rest, at = fold != one, fold == one
        (a, b), _ = most_probable(x[rest], good[rest])
        logits[at] = a + b * x[at]
        base[at] = np.log(good[rest].sum() + 0.5) - np.log((1 - good[rest]).sum() + 0.5)
    sign = 2 * good - 1
    return float(np.logaddexp(0, -sign * logits).mean()), float(np.logaddexp(0, -sign * base).mean())
