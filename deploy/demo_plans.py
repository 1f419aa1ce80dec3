"""How much the demo does with a language model: the shipped one is small, SmolLM2 has 150 times its weights.

A new model is a row here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from storage.settings import Settings

Sections = Mapping[str, Mapping[str, Any]]

CORES = os.cpu_count() or 1

# The defaults for models of this size are for thousands of rows. With some dozens of steps they change next to nothing: at 1e-4 the loss of
# SFT was 3.1 after twenty steps, at 5e-4 1.9 (world 0). Batches of 4 take half the memory and give twice the steps.
SMOLLM2_SFT: dict[str, Any] = {"batch": 4, "learning_rate": 1e-3, "epochs": 1}
SMOLLM2_DPO: dict[str, Any] = {"batch": 4, "learning_rate": 2e-4, "sft_weight": 1.0}


@dataclass(frozen=True)
class DemoPlan:
    """The demo with one model.

    Attributes
    ----------
    model : as in the settings
    judgments : of the training stratum, until a training starts; a quarter as many again go to the evaluation stratum
    sections : settings that differ from the user's
    demonstrations : replies that recruiters wrote, on which the model is trained before it chats; 0 for none
    pace : of the simulated people, see ``python -m simulation``
    give_up_after : seconds until an evaluation has to be there
    notice : said before it starts: how long it takes, and what to expect
    may_pass : whether the evidence is enough for a version to pass its gates
    """

    model: str
    judgments: int
    sections: Sections = field(default_factory=dict)
    demonstrations: int = 0
    pace: Literal["fast", "slow"] = "fast"
    give_up_after: float = 900.0
    notice: str = ""
    may_pass: bool = True

    def applied(self, settings: Settings) -> Settings:
        """``settings`` with the plan's own values."""
        return settings.with_values({"sources": ("simulation",)}, retraining={"every": self.judgments}, **self.sections)


SHIPPED = DemoPlan(
    model="shipped",
    judgments=480,
    sections={"serving": {"pairing_share": 0.16}},  # gives more than 900 prompts of the evaluation stratum; the gates need 800
)
SMOLLM2 = DemoPlan(
    model="smollm2",
    judgments=96,
    sections={
        "serving": {"pairing_share": 1.0, "max_tokens": 96, "threads": CORES},  # people pause while a run trains
        "trainer": {"threads": CORES},
        "sft": SMOLLM2_SFT,
        "dpo": SMOLLM2_DPO,
        "evaluation": {"prompts": 48, "kl_prompts": 32, "max_tokens": 96, "audit_pairs": 4, "audit_pairs_max": 4},
        "gates": {"win_rate": {"min_judgments": 24}},  # a run waits until there are as many
    },
    demonstrations=480,
    pace="slow",
    give_up_after=4 * 3600.0,
    notice=(
        "SmolLM2 on a CPU: about half an hour on two cores that are free. It is trained on 480 demonstrations first, then on 96\n"
        "judgments, a fifth of the shipped model's. That shows every step, but it is too little evidence for the gates: they will\n"
        "say so, and no version becomes champion. The full evidence (480 judgments, 810 prompts) wants a GPU: see docs/smollm2.md."
    ),
    may_pass=False,
)
PLANS = (SHIPPED, SMOLLM2)


def plan_for(settings: Settings) -> DemoPlan:
    """The plan of the configured model; the shipped model's for any other."""
    return next((plan for plan in PLANS if plan.model == settings.common.model), SHIPPED)
