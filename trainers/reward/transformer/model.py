"""A transformer with one output as a reward model: an encoder or a decoder that reads prompt and reply together."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import expit

from storage.errors import ArtifactError
from trainers.features.embedding import Item
from trainers.reward.online.head import Prediction
from trainers.reward.transformer.calibration import Calibration
from trainers.reward.transformer.inputs import Inputs, inputs_for

FILE = "reward.json"  # marks a folder of transformers as a reward model, and says how it is read
BATCH = 32
FORM = 1  # bump when an older folder would be read wrongly


class TransformerCard(BaseModel):
    """The content of ``reward.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: int = FORM
    max_length: int
    calibration: Calibration = Calibration()
    about: dict[str, float | str] = {}


class TransformerReward:
    """A reward model of transformers' ``AutoModelForSequenceClassification`` with one label.

    Attributes
    ----------
    card : how it reads and how its scores become probabilities
    """

    def __init__(self, model: Any, tokenizer: Any, card: TransformerCard, name: str) -> None:
        self.model, self.tokenizer, self.card = model.eval(), tokenizer, card
        self._inputs: Inputs = inputs_for(tokenizer, card.max_length, name)

    @property
    def about(self) -> Mapping[str, float | str]:
        """What was chosen in its training."""
        return {**self.card.about, "slope": self.card.calibration.slope, "tie_cut": self.card.calibration.cut}

    @classmethod
    def load(cls, folder: Path) -> "TransformerReward":
        """Read a model that :meth:`save` has written.

        Raises
        ------
        ArtifactError
            The folder holds none, or one in a form that this version does not read.
        ModelNotFound
            One of its files is damaged or a pickle.
        """
        import torch

        from trainers.models.model_files import check_model
        from trainers.reward.transformer.load import load_scorer, load_scorer_tokenizer

        try:
            card = TransformerCard.model_validate_json((folder / FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise ArtifactError(f"{folder / FILE}: no reward model to be read there: {error}") from error
        if card.form != FORM:
            raise ArtifactError(f"{folder / FILE}: form {card.form}, this program reads {FORM}; train the reward model again")
        check_model(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(load_scorer(str(folder)).to(device), load_scorer_tokenizer(str(folder)), card, str(folder))

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        """See :class:`trainers.reward.reward.Reward`."""
        return self.card.calibration.slope * self.logits(items)

    def logits(self, items: Sequence[Item]) -> np.ndarray:
        """The model's own output, ``(n,)``, before calibration; of a reply in pieces their mean, weighted by length."""
        import torch

        if not items:
            return np.empty(0)
        pieces = [self._inputs.pieces(prompt, reply) for prompt, reply in items]
        ids = [row for each in pieces for row, _ in each]
        found = np.empty(len(ids))
        with torch.inference_mode():
            for chunk in _by_length(ids, BATCH):
                inputs, mask = padded([ids[i] for i in chunk], self.tokenizer)
                device = next(self.model.parameters()).device
                output = self.model(input_ids=inputs.to(device), attention_mask=mask.to(device)).logits
                found[chunk] = output.squeeze(-1).float().cpu().numpy()
        lengths = np.array([float(max(length, 1)) for each in pieces for _, length in each])  # an empty reply has one piece
        starts = np.cumsum([0, *(len(each) for each in pieces[:-1])])
        return np.asarray(np.add.reduceat(found * lengths, starts) / np.add.reduceat(lengths, starts))

    def compare(self, first: Sequence[Item], second: Sequence[Item]) -> Prediction:
        """See :class:`trainers.reward.reward.Reward`; the variance is 0: one model does not know what it does not know."""
        both = self.scores([*first, *second])
        mean, cut = both[: len(first)] - both[len(first) :], self.card.calibration.cut
        a, b = expit(mean - cut), expit(-mean - cut)
        return Prediction(mean, np.zeros(len(mean)), a, np.maximum(1 - (a + b), 0), b)

    def save(self, path: Path) -> Path:
        """Write model, tokenizer and ``reward.json`` to the folder ``path``."""
        self.model.save_pretrained(path, safe_serialization=True)
        self.tokenizer.save_pretrained(path)
        (path / FILE).write_bytes(orjson.dumps(self.card.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        return path


def padded(rows: Sequence[Sequence[int]], tokenizer: Any) -> tuple[Any, Any]:
    """Token ids and attention mask, padded on the right."""
    import torch

    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[tokenizer.pad_token_id] * (length - len(row))] for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])


def _by_length(rows: Sequence[Sequence[int]], batch: int) -> Iterator[list[int]]:
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    yield from (order[start : start + batch] for start in range(0, len(order), batch))
