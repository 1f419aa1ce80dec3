"""The limits that gates hold against: the defaults of ``thresholds.toml``, over them the section ``[gates]`` of the settings."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WinRateLimits(_Part):
    """``least`` for the figure, ``above`` for the whole interval."""

    least: Share
    above: Share
    min_prompts: Count
    min_judgments: Count
    min_recruiters: Count


class KLLimits(_Part):
    """``budget`` in nats a reply."""

    budget: Annotated[float, Field(gt=0)]
    min_prompts: Count


class ShareLimits(_Part):
    """How much greater than the champion's a share of bad replies may be, shown with one-sided ``confidence``."""

    margin: Share
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    min_prompts: Count


class ContrastLimits(_Part):
    """``within`` in standard deviations; ``min_names`` pairs of names."""

    within: Annotated[float, Field(gt=0)]
    min_names: Annotated[int, Field(ge=2)]


class Limits(_Part):
    """All of them; what is not given has the value of ``thresholds.toml``."""

    win_rate: WinRateLimits
    kl_budget: KLLimits
    facts: ShareLimits
    conduct: ShareLimits
    name_contrast: ContrastLimits

    @model_validator(mode="before")
    @classmethod
    def _over_the_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        merged = dict(given)
        for name, values in _defaults().items():
            laid_over = merged.setdefault(name, {})
            if isinstance(laid_over, dict):
                merged[name] = values | laid_over
        return merged


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files("trainers.audits.gates").joinpath("thresholds.toml").read_text(encoding="utf-8"))
