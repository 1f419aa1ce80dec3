"""Load a transformer with a single output, and its tokenizer."""

from pathlib import Path
from typing import Any

from transformers import AutoModelForSequenceClassification

from storage.errors import ModelNotFound
from trainers.features.encoder import checked_hash, shipped_folder
from trainers.models.model_files import check_model, is_adapter
from trainers.models.policy import load_tokenizer
from trainers.models.references import resolve_model


def scorer_place(model: str | None) -> str:
    """The folder or id to begin a training from.

    Raises
    ------
    ModelNotFound
        It is a folder without a model, with a pickle, or with an adapter; or the shipped encoder is not the one that is expected.
    """
    place = str(shipped_folder()) if model is None else resolve_model(model)
    if Path(place).is_dir():
        if is_adapter(Path(place)):
            raise ModelNotFound(f"{place}: an adapter; a reward model is trained from a whole model")
        if model is None:
            checked_hash(Path(place))
        else:
            check_model(Path(place))
    return place


def load_scorer(place: str) -> Any:
    """The model with one label, in float32; its output layer is new where the folder has none."""
    import torch
    from trl.trainer.reward_trainer import suppress_seqcls_warning

    try:
        with suppress_seqcls_warning():
            return AutoModelForSequenceClassification.from_pretrained(place, num_labels=1, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"{place}: no model with a sequence classification form can be read there: {error}") from error


def load_scorer_tokenizer(place: str) -> Any:
    """The tokenizer, with a token to pad with, on the right."""
    tokenizer = load_tokenizer(place)
    tokenizer.padding_side = "right"
    return tokenizer
