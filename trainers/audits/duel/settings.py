"""Settings of the duel: error rates, the smallest win rate worth a promotion, harm, budget, expiry and canary."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.settings import section

Share = Annotated[float, Field(gt=0, lt=1)]


@section("duel")
class DuelRule(BaseModel):
    """How an approved version becomes champion. Frozen with the run's settings.

    Attributes
    ----------
    required : whether a version has to win a duel; if not, it becomes champion when it is approved
    alpha : probability that a challenger that is not preferred ever wins its duel
    least : smallest win rate worth a promotion; a challenger shown to be below it is retired
    futility_alpha : probability that a challenger with this win rate or a higher one is ever retired for futility
    harm_margin : a group is harmed if the challenger's win rate among its candidates is below one half by more than this
    harm_alpha : probability that a challenger that harms no group is ever stopped for harm, over all groups; and that one that harms a
        group is ever cleared of it
    group_share : a challenger cannot win before it is cleared of harm to each group with at least this share of the judgments
    min_judgments : judgments that count before a challenger can win
    budget : judgments after which the duel ends without a winner
    recruiter_share : largest share of the evidence from one recruiter; further judgments of theirs are stored, but do not count
    expires_days : days after the evaluation at which an undecided version is retired
    canary : shares of conversations that a winner answers, step by step, before it becomes champion; none by default
    canary_judgments : judgments without an alarm that end each step
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    required: bool = True
    alpha: Share = 0.05
    least: Annotated[float, Field(gt=0.5, lt=1)] = 0.55
    futility_alpha: Share = 0.05
    harm_margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.10
    harm_alpha: Share = 0.05
    group_share: Annotated[float, Field(gt=0, le=1)] = 0.10
    min_judgments: Annotated[int, Field(ge=1)] = 20
    budget: Annotated[int, Field(ge=1)] = 1000
    recruiter_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    expires_days: Annotated[float, Field(gt=0)] = 30.0
    canary: tuple[Share, ...] = ()
    canary_judgments: Annotated[int, Field(ge=1)] = 50
