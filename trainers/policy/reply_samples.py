"""Replies to a few prompts of the training, before it, at each of its checkpoints and after it, to see what it does to them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from storage.events import Message, Sampling
from storage.files import write_atomic
from trainers.data.preference import digest_of

if TYPE_CHECKING:
    from trainers.models.policy import Policy

REPLIES = "replies.json"  # in a training's folder
MAX_TOKENS = 96


class RepliesAt(BaseModel):
    """The replies after ``step`` steps, one for each prompt; greedy, so that what changes is the policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    replies: tuple[str, ...]


class ReplySamples(BaseModel):
    """The prompts, and their replies over the training, oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: tuple[tuple[Message, ...], ...]
    samples: tuple[RepliesAt, ...] = ()


class ReplySampler:
    """Samples and keeps them in ``folder/replies.json``; a resumed training goes on from what lies there.

    Parameters
    ----------
    prompts : to choose from
    count : of prompts; 0 samples nothing
    """

    def __init__(self, prompts: Iterable[tuple[Message, ...]], count: int, folder: Path) -> None:
        chosen = sorted(set(prompts), key=lambda prompt: digest_of(prompt, "", ""))[:count]  # mostly the same ones in a later run
        self._path = folder / REPLIES
        self._found = ReplySamples(prompts=tuple(chosen))
        if chosen and self._path.is_file():
            before = ReplySamples.model_validate_json(self._path.read_bytes())
            self._found = before if before.prompts == self._found.prompts else self._found

    def sample(self, step: int, policy: "Policy") -> None:
        """Answer the prompts with the policy as it is after ``step`` steps; its training mode stays as it was."""
        if not self._found.prompts:
            return
        replies = greedy_replies(policy, self._found.prompts)
        before = tuple(each for each in self._found.samples if each.step < step)
        self._found = self._found.model_copy(update={"samples": (*before, RepliesAt(step=step, replies=replies))})
        write_atomic(self._path, self._found.model_dump_json(indent=1).encode())


def greedy_replies(policy: "Policy", prompts: Sequence[tuple[Message, ...]]) -> tuple[str, ...]:
    """The most likely reply to each prompt, token by token."""
    from trainers.models.engine import generate

    training = policy.model.training
    policy.model.eval()
    try:
        most = min(MAX_TOKENS, policy.window // 2)
        return tuple(generate(policy, prompts, Sampling(temperature=0.0, top_p=1.0, max_tokens=most), seed=0))
    finally:
        policy.model.train(training)
