"""Would recruiters rather have the challenger's replies than the champion's?"""

from storage.events import GateResult
from trainers.audits.gates.limits import WinRateLimits
from trainers.audits.win_rate import WinRate


def win_rate(evidence: WinRate, limits: WinRateLimits) -> GateResult:
    """Pass when the win rate reaches ``limits.least`` and its whole interval lies above ``limits.above``.

    Fewer prompts, judgments or recruiters than the limits ask for give an *insufficient* result, which is not a pass.
    """
    rate = evidence.rate
    enough = (
        evidence.prompts >= limits.min_prompts
        and evidence.judgments >= limits.min_judgments
        and evidence.recruiters >= limits.min_recruiters
    )
    good = rate.figure >= limits.least and rate.low > limits.above
    seen = f"judged on {evidence.prompts} prompts by what {evidence.recruiters} recruiters said in {evidence.judgments} judgments"
    if not enough:
        words = (
            f"Too little to judge by: {seen}; at least {limits.min_prompts} prompts, {limits.min_judgments} judgments and "
            f"{limits.min_recruiters} recruiters are needed."
        )
    else:
        words = f"Recruiters would prefer the new replies in {rate.figure:.0%} of cases ({rate.low:.0%} to {rate.high:.0%}), {seen}."
    return GateResult(
        name="win_rate",
        verdict="insufficient" if not enough else "passed" if good else "failed",
        figure=rate.figure,
        low=rate.low,
        high=rate.high,
        n=evidence.prompts,
        limit=f"at least {limits.least:g}, and the whole interval above {limits.above:g}",
        unit="share",
        words=words,
    )
