"""Train a model to imitate replies: recruiters' rewrites, or a file of conversations or instructions. With a LoRA adapter.

The loss is the negative log-likelihood of each reply's tokens and its end token, the mean over all tokens of an optimiser step, so that a
token weighs the same whatever batch it is in. Rows are batched by length and padded, not packed, so no reply attends to another.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from storage.events import Message
from trainers.data.demonstration import Demonstration
from trainers.data.preference import Preference
from trainers.policy.fine_tuning import MIN_PROMPT_TOKENS, FineTuningSettings, Row, enough, fine_tune
from trainers.policy.training import Progress, Trained

if TYPE_CHECKING:
    from trainers.models.policy import Policy

METRICS = {"loss": "loss", "mean_token_accuracy": "token_accuracy"}
IGNORED = -100  # label of a token that is not in the loss


class SFTSettings(FineTuningSettings):
    """Hyperparameters of supervised fine-tuning.

    Attributes
    ----------
    chosen : whether the preferred replies of comparisons are demonstrations too
    """

    chosen: bool = False


def train_sft(
    base: str,
    demonstrations: Sequence[Demonstration],
    preferences: Sequence[Preference],
    settings: SFTSettings,
    output: Path,
    progress: Progress,
) -> Trained:
    """Train an adapter on ``base`` and write it to ``output/policy``; an interrupted training resumes from its last checkpoint.

    Parameters
    ----------
    base : the base model, as accepted by :func:`trainers.models.references.resolve_model`
    preferences : comparisons, whose preferred replies are used if ``settings.chosen`` is set
    output : a folder for this training only; its checkpoints are removed at the end
    progress : called with step, steps and the metrics ``loss`` and ``token_accuracy``

    Raises
    ------
    DataRefused
        Fewer rows are left than ``settings.least_rows``.
    ModelNotFound
        ``base`` does not exist.
    """
    examples = [_Example(each.prompt, each.reply) for each in demonstrations]
    if settings.chosen:
        examples += [_Example(each.prompt, each.chosen) for each in preferences if each.choice in ("A", "B")]
    examples = list(dict.fromkeys(examples))
    chosen = "" if settings.chosen else " (rewrites; set chosen = true in [sft] to use the preferred replies of comparisons too)"
    enough(examples, f"demonstrations{chosen}", settings)

    from trl.trainer.sft_config import SFTConfig

    from trainers.policy.trl_trainers import TokenizedSFT

    def tokenized(example: _Example, policy: "Policy") -> Row | None:
        reply = policy.chat.reply_ids(example.reply)
        room = settings.max_length - len(reply)
        if room < MIN_PROMPT_TOKENS:
            return None
        prompt = policy.chat.fitted_ids(example.prompt, room)
        return {"input_ids": [*prompt, *reply], "labels": [*[IGNORED] * len(prompt), *reply]}

    return fine_tune(base, examples, tokenized, TokenizedSFT, SFTConfig, METRICS, settings, output, progress)


class _Example(NamedTuple):
    prompt: tuple[Message, ...]
    reply: str
