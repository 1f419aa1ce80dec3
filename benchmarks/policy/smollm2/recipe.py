"""How SmolLM2 is trained on the simulated recruiting world: demonstrations first, then recruiters' judgments of its own pairs.

Both trainings are the ones of ``feedbackloop train``, with the settings of the demo's plan and else the defaults for a model of this size.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.demo_plans import SMOLLM2_DPO, SMOLLM2_SFT
from simulation.demonstrations import answered, draw_demonstrations
from simulation.recruiters import draw_recruiters
from simulation.world import Conversation, World
from storage.events import Message, Sampling
from trainers.data.demonstration import Demonstration
from trainers.data.preference import Preference
from trainers.models.engine import generate
from trainers.models.policy import Policy
from trainers.models.smollm2 import SMOLLM2
from trainers.policy.dpo import DPOSettings, train_dpo
from trainers.policy.methods import method, sized
from trainers.policy.sft import SFTSettings, train_sft
from trainers.policy.training import Progress, Trained

SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=96)  # as the demo's chats
BATCH = 32  # replies sampled at once


@dataclass(frozen=True)
class Recipe:
    """How much is drawn: the world's seed, demonstrations for SFT, pairs that one recruiter each judges, and prompts to measure on."""

    seed: int = 10_000
    demonstrations: int = 400
    pairs: int = 96
    prompts: int = 120
    recruiters: int = 12

    def sft(self, folder: Path, progress: Progress) -> Trained:
        """Train on demonstrations."""
        drawn = draw_demonstrations(self.seed, self.demonstrations)
        rows = [Demonstration.of_reply(_messages(each.prompt), each.reply) for each in drawn]
        settings = sized(method("sft"), SFTSettings.model_validate(SMOLLM2_SFT), SMOLLM2)
        assert isinstance(settings, SFTSettings)
        return train_sft(SMOLLM2, rows, (), settings, folder, progress)

    def judged(self, policy: Policy) -> list[Preference]:
        """Pairs of two samples of ``policy``, each judged by one recruiter; the decisive ones."""
        rng, world = random.Random(f"pairs {self.seed}"), World(self.seed)
        panel = draw_recruiters(world, self.recruiters)
        conversations = [world.conversation(rng, "sft") for _ in range(self.pairs)]
        prompts = [history(rng, each) for each in conversations]
        firsts, seconds = (generate(policy, prompts, SAMPLING, seed, batch=BATCH) for seed in (2 * self.seed, 2 * self.seed + 1))
        rows = []
        for conversation, prompt, a, b in zip(conversations, prompts, firsts, seconds, strict=True):
            messages = [message.model_dump() for message in prompt]
            answer = rng.choice(panel).judge(conversation.records[-1], messages, a, b, rng.choice(("A", "B")), rng)
            if answer.choice in ("A", "B") and a != b:
                chosen, rejected = (a, b) if answer.choice == "A" else (b, a)
                rows.append(Preference.of_replies(prompt, chosen, rejected, answer.strength))
        return rows

    def dpo(self, base: Path, rows: Sequence[Preference], folder: Path, progress: Progress) -> Trained:
        """Train on judgments, from the result of SFT, which is also the reference."""
        settings = sized(method("dpo"), DPOSettings.model_validate(SMOLLM2_DPO), SMOLLM2)
        assert isinstance(settings, DPOSettings)
        return train_dpo(str(base), rows, settings, folder, progress)

    def held_out(self) -> list[tuple[Conversation, tuple[Message, ...]]]:
        """Conversations with names, roles, employers and questions that are in no training; earlier turns have the same replies for all."""
        rng, world = random.Random(f"held out {self.seed}"), World(self.seed)
        return [(each, history(rng, each)) for each in (world.conversation(rng, "held_out") for _ in range(self.prompts))]


def history(rng: random.Random, conversation: Conversation) -> tuple[Message, ...]:
    """The prompt of the conversation's last turn; earlier turns are answered with replies of the corpus."""
    return _messages(conversation.prompt(answered(rng, conversation)[:-1]))


def _messages(prompt: Sequence[dict[str, str]]) -> tuple[Message, ...]:
    return tuple(Message.model_validate(message) for message in prompt)
