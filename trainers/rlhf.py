"""The Python API: train a model in a few lines, from a file, a list of records or a ``datasets.Dataset``.

>>> from feedbackloop import RLHFConfig, RLHFTrainer
>>> config = RLHFConfig(model_name="shipped", algorithm="dpo", learning_rate=1e-3, batch_size=8)
>>> result = RLHFTrainer(config=config).train("judgments.jsonl", num_epochs=1)
>>> result.adapter
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from storage.errors import ConfigurationError
from storage.events import Identifier, Message, Stratum
from storage.settings import Common, Settings
from storage.texts.texts import Texts
from trainers.api import Progress, evaluate_policy, no_progress, train_policy
from trainers.data.in_memory import Dataset, digest_of_records, records_of
from trainers.data.messages import messages_in
from trainers.models.references import SHIPPED
from trainers.policy.dpo import DPOSettings
from trainers.policy.methods import method, sized
from trainers.policy.ppo_settings import PPOSettings
from trainers.policy.train import train
from trainers.policy.training import Trained, TrainingInputs
from trainers.runs.data import RunData
from trainers.runs.report import Report

if TYPE_CHECKING:
    from trainers.policy.reward_sources import RewardFunction

DPOConfig = DPOSettings  # named as in TRL
PPOConfig = PPOSettings


class RLHFConfig(BaseModel):
    """Model, algorithm and settings of a training.

    Attributes
    ----------
    model_name : a folder, a Hugging Face id, or ``shipped``
    algorithm : name of a row in ``trainers.policy.methods``: ``sft``, ``dpo``, ``kto`` or ``ppo``
    reward_model_path : what PPO optimises: the folder of a saved reward model; None fits a head to the preferences
    learning_rate, batch_size, num_epochs, max_length, seed : of the training; None takes the algorithm's default. For PPO ``batch_size`` is
        the number of replies in a step, and ``num_epochs`` the passes over the prompts
    ppo_epochs, kl_coefficient : PPO's passes over each step's replies, and the price of a nat of divergence
    beta : of DPO and KTO
    lora_rank : of the adapter
    output_dir : folder for what is trained
    sections : any other setting, by section, as in ``feedbackloop.toml``: ``{"evaluation": {"prompts": 200}}``
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str = SHIPPED
    algorithm: Identifier = "dpo"
    reward_model_path: Path | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    num_epochs: int | None = None
    ppo_epochs: int | None = None
    kl_coefficient: float | None = None
    beta: float | None = None
    lora_rank: int | None = None
    max_length: int | None = None
    seed: int | None = None
    output_dir: Path = Path("out")
    sections: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def settings(self, prompts: int) -> Settings:
        """All settings, for a training on this many distinct prompts.

        Raises
        ------
        ConfigurationError
            The algorithm does not exist, or has no such option.
        """
        row = method(self.algorithm)
        named: dict[str, Any] = {
            "learning_rate": self.learning_rate,
            "batch": self.batch_size,
            "kl_coefficient": self.kl_coefficient,
            "beta": self.beta,
            "lora_rank": self.lora_rank,
            "max_length": self.max_length,
            "seed": self.seed,
            "rewards": None if self.reward_model_path is None else {str(self.reward_model_path): 1.0},
        }
        if "rewards" in row.settings.model_fields:  # PPO, whose epochs are those of a step
            batch = self.batch_size or row.settings.model_fields["batch"].default
            named |= {"epochs": self.ppo_epochs, "steps": None if self.num_epochs is None else math.ceil(self.num_epochs * prompts / batch)}
        else:
            named |= {"epochs": self.num_epochs, "ppo_epochs": self.ppo_epochs}
        given = {name: value for name, value in named.items() if value is not None}
        if unknown := sorted(given.keys() - row.settings.model_fields.keys()):
            names = {"rewards": "reward_model_path", "batch": "batch_size"}
            raise ConfigurationError(
                f"algorithm = {row.name!r} has no {', '.join(names.get(name, name) for name in unknown)}: leave it out"
            )
        sections = self.sections | {row.name: self.sections.get(row.name, {}) | given}
        return Settings(Common(model=self.model_name), sections)


@dataclass(frozen=True)
class TrainingResult:
    """The finished adapter's folder, what was measured, and the evaluation, if there was one."""

    adapter: Path
    trained: Trained
    report: Report | None = None

    @property
    def metrics(self) -> Mapping[str, float]:
        """The last metrics of the training."""
        return self.trained.metrics


class RLHFTrainer:
    """Trains a policy by the algorithm of its config.

    Parameters
    ----------
    model : a folder, a Hugging Face id, ``shipped``, or a loaded ``transformers`` model, which is left as it is; None is the config's
    tokenizer : of a loaded model
    reward : for PPO, what to optimise: maps a list of (prompt messages, reply) pairs to as many numbers; None takes ``[ppo.rewards]``
    """

    def __init__(
        self, model: Any = None, tokenizer: Any = None, config: RLHFConfig | None = None, *, reward: "RewardFunction | None" = None
    ) -> None:
        self.config, self._reward = config or RLHFConfig(), reward
        if reward is not None and self.config.algorithm != "ppo":
            raise ConfigurationError(f"algorithm = {self.config.algorithm!r} has no reward: leave it out, or take algorithm='ppo'")
        self._model, self._tokenizer = self.config.model_name if model is None else model, tokenizer
        if not isinstance(self._model, str | Path) and tokenizer is None:
            raise ConfigurationError("a loaded model needs its tokenizer: RLHFTrainer(model, tokenizer, config)")

    def train(
        self,
        preference_dataset: Dataset | Sequence[Any],
        eval_dataset: Dataset | None = None,
        num_epochs: int | None = None,
        *,
        progress: Progress = no_progress,
    ) -> TrainingResult:
        """Train, and evaluate if there is an ``eval_dataset``; the adapter is in ``output_dir/policy``, the report in ``report.json``.

        Parameters
        ----------
        preference_dataset : a file, a snapshot's folder, a list of records or a ``datasets.Dataset``, in any layout that a file may have.
            For SFT it holds demonstrations, for KTO ratings; for PPO with a ``reward`` it may be a list of prompts, texts or messages.
            Without an ``eval_dataset`` a quarter of the prompts is held out
        eval_dataset : preferences to evaluate on: the policy is compared with the model that it was trained from
        num_epochs : overrides the config's

        Raises
        ------
        ConfigurationError, ModelNotFound, DataRefused
            As :func:`trainers.api.train_policy` and :func:`trainers.api.evaluate_policy`.
        """
        if self._reward is not None and eval_dataset is None and not isinstance(preference_dataset, str | Path):
            preference_dataset = list(preference_dataset)
            if preference_dataset and isinstance(preference_dataset[0], str | list | tuple):
                return self._train_on_prompts([_messages(prompt) for prompt in preference_dataset], self._reward, num_epochs, progress)
        data = _data(preference_dataset, None if eval_dataset is None else "training")
        config = self.config if num_epochs is None else self.config.model_copy(update={"num_epochs": num_epochs})
        prompts = {*(each.prompt for each in data.preferences), *(each.prompt for each in data.ratings)}
        settings, out, base = config.settings(len(prompts)), config.output_dir, self._base()
        if self._reward is not None:
            given = [each.prompt for each in data.preferences if each.stratum == "training"]
            trained = self._train_on_prompts(given, self._reward, num_epochs, progress).trained
        else:
            trained = train_policy(settings, data, base, out, progress, method=config.algorithm)
        if eval_dataset is None:
            return TrainingResult(trained.adapter, trained)
        report = evaluate_policy(settings, _joined(data, _data(eval_dataset, "evaluation")), str(trained.adapter), base, out, progress)
        return TrainingResult(trained.adapter, trained, report)

    def _train_on_prompts(
        self, prompts: Sequence[tuple[Message, ...]], reward: "RewardFunction", num_epochs: int | None, progress: Progress
    ) -> TrainingResult:
        """PPO against a function, which one process calls; nothing is held out, and there is no second reward to watch it."""
        from trainers.policy.ppo import train_ppo

        config = self.config if num_epochs is None else self.config.model_copy(update={"num_epochs": num_epochs})
        base, row = self._base(), method("ppo")
        settings = config.settings(len(set(prompts))).section("ppo", PPOSettings)
        chosen = PPOSettings.model_validate(sized(row, settings, base).model_dump() | {"processes": 1})

        def report(step: int, steps: int, metrics: Mapping[str, float]) -> None:
            progress("train", step, steps, dict(metrics))

        def optimise(given: TrainingInputs) -> Trained:
            return train_ppo(base, prompts, reward, chosen, given.folder, given.progress)

        digest = hashlib.sha256(orjson.dumps([[message.model_dump() for message in prompt] for prompt in prompts])).hexdigest()
        inputs = TrainingInputs(base, (), (), (), digest, chosen, Settings(Common(), {}), config.output_dir, report)
        trained = train(replace(row, train=optimise), inputs)
        return TrainingResult(trained.adapter, trained)

    def _base(self) -> str:
        """The model's folder or id; a loaded one is saved in ``output_dir/base``."""
        if isinstance(self._model, str | Path):
            return str(self._model)
        folder = self.config.output_dir / "base"
        self._model.save_pretrained(str(folder), safe_serialization=True)
        self._tokenizer.save_pretrained(str(folder))
        return str(folder)


class DPOTrainer:
    """Trains an adapter by direct preference optimisation; see :class:`RLHFTrainer` for the parameters."""

    def __init__(self, model: Any = None, tokenizer: Any = None, config: DPOConfig | None = None, output_dir: str | Path = "out") -> None:
        sections = {"dpo": (config or DPOConfig()).model_dump()}
        self._trainer = RLHFTrainer(model, tokenizer, RLHFConfig(algorithm="dpo", output_dir=Path(output_dir), sections=sections))

    def train(self, preference_dataset: Dataset, *, progress: Progress = no_progress) -> TrainingResult:
        """Train an adapter and write it to ``output_dir/policy``.

        Raises
        ------
        ConfigurationError, ModelNotFound, DataRefused
            As :func:`trainers.api.train_policy`.
        """
        return self._trainer.train(preference_dataset, progress=progress)


def _messages(prompt: Any) -> tuple[Message, ...]:
    """A prompt as a text or as chat messages."""
    if isinstance(prompt, str):
        return (Message(role="user", content=prompt),)
    return messages_in([each.model_dump() if isinstance(each, Message) else each for each in prompt], "prompt")


def _data(dataset: Dataset, stratum: Stratum | None) -> RunData:
    if isinstance(dataset, str | Path):
        return _of_stratum(RunData.read(Path(dataset), Texts.here()), stratum)
    records = records_of(dataset, stratum)
    digest = digest_of_records(records)
    return RunData(records.preferences, records.bad, records.layout, digest, None, records.ratings, records.demonstrations)


def _of_stratum(data: RunData, stratum: Stratum | None) -> RunData:
    """All records for one stratum; a snapshot keeps its own, and only those of this stratum are used."""
    if stratum is None:
        return data
    if data.snapshot is not None:
        return replace(data, preferences=tuple(each for each in data.preferences if each.stratum == stratum))
    return replace(
        data,
        preferences=tuple(replace(each, stratum=stratum) for each in data.preferences),
        rated=tuple(replace(each, stratum=stratum) for each in data.rated),
        demonstrated=tuple(replace(each, stratum=stratum) for each in data.demonstrated),
    )


def _joined(training: RunData, evaluation: RunData) -> RunData:
    """Both sets of preferences; a training row whose conversation is evaluated on too is left out."""
    held = {each.conversation_id for each in evaluation.preferences}
    kept = tuple(each for each in training.preferences if each.conversation_id not in held)
    return replace(evaluation, preferences=(*kept, *evaluation.preferences))
