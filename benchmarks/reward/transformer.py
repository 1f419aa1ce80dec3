"""How well does a transformer predict the less harmful reply, and do it and the head do better together? The folds of ``harmless``.

The shipped encoder with all weights trained, about twelve minutes a fold on two cores. ``FEEDBACKLOOP_DECODER`` names the folder of a
decoder, which is measured as well, with LoRA and in bfloat16, on the first ``FEEDBACKLOOP_DECODER_FOLDS`` of the folds. A finished fold's
margins are kept in ``build/benchmarks``, and used again by the next run with the same settings. Head and transformer together are the
mean of their log-odds.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import torch

from benchmarks.figures import Figure
from benchmarks.reward.data import HARMLESS, embedded
from benchmarks.reward.harmless import FOLDS, difference, head_margins
from storage.strata import fold_of
from trainers.data.preference import Preference
from trainers.reward import measures
from trainers.reward.transformer.settings import TransformerSettings
from trainers.reward.transformer.training import train_transformer
from trainers.reward.validation import margins_of

KEPT = Path("build/benchmarks")
DECODER, DECODER_FOLDS = "FEEDBACKLOOP_DECODER", "FEEDBACKLOOP_DECODER_FOLDS"


def figures(quick: bool) -> Sequence[Figure]:
    """Accuracy of the transformer, of it and the head together, and of a decoder where one is named."""
    preferences = embedded(HARMLESS)[:400] if quick else embedded(HARMLESS)
    decisive, head = head_margins(preferences)
    torch.set_num_threads(os.cpu_count() or 1)  # loading the embedding has set one
    folds = range(1 if quick else FOLDS)
    found = _rows("transformer", TransformerSettings(epochs=1) if quick else TransformerSettings(), decisive, head, folds)
    if os.environ.get(DECODER):
        settings = TransformerSettings(
            model=os.environ[DECODER], lora_rank=16, lora_alpha=32, learning_rate=2e-4, epochs=1, precision="bf16"
        )
        found += _rows("decoder", settings, decisive, head, range(int(os.environ.get(DECODER_FOLDS, len(folds)))))
    return found


def _rows(name: str, settings: TransformerSettings, decisive: Sequence[Preference], head: np.ndarray, folds: range) -> list[Figure]:
    fold = np.array([fold_of(each.conversation_id, FOLDS) for each in decisive])
    at = np.flatnonzero(np.isin(fold, list(folds)))
    margins = np.concatenate([_fold(settings, decisive, fold, one) for one in folds])
    order = np.argsort(np.concatenate([np.flatnonzero(fold == one) for one in folds]))
    margins, head = margins[order], head[at]
    prompts = np.array([decisive[i].conversation_id for i in at.tolist()])
    accuracy = measures.with_interval(measures.accuracy, margins, prompts)
    together = measures.with_interval(measures.accuracy, margins + head, prompts)
    low, high = difference(measures.accuracy, margins, head, prompts)
    minus = accuracy.value - measures.accuracy(head)
    excess = measures.calibration_error(margins) - measures.calibration_error_if_calibrated(margins)
    best = "best_harmless_accuracy" if name == "transformer" else f"{name}_and_head_accuracy"
    return [
        Figure(f"{name}_accuracy", accuracy.value, accuracy.low, accuracy.high, f"of {len(margins)}, {len(folds)} folds"),
        Figure(f"{name}_auc", measures.auc(margins), None, None, f"log loss {measures.log_loss(margins):.4f}"),
        Figure(f"{name}_minus_head", minus, low, high, "paired"),
        Figure(f"{name}_calibration_excess", excess, None, None, "calibration error above that of a calibrated model"),
        Figure(best, together.value, together.low, together.high, "mean of the log-odds", ">=0.65" if name == "transformer" else ""),
    ]


def _fold(settings: TransformerSettings, decisive: Sequence[Preference], fold: np.ndarray, one: int) -> np.ndarray:
    """The margins of one fold's preferences under a transformer that was trained on the others."""
    held_out = [decisive[i] for i in np.flatnonzero(fold == one).tolist()]
    training = [decisive[i] for i in np.flatnonzero(fold != one).tolist()]
    about = [settings.model_dump(mode="json"), [each.digest for each in training], [each.digest for each in held_out]]
    kept = KEPT / f"transformer-{hashlib.sha256(orjson.dumps(about)).hexdigest()[:16]}.npy"
    if kept.exists():
        return np.asarray(np.load(kept))
    with tempfile.TemporaryDirectory() as folder:
        margins = margins_of(train_transformer(training, settings, Path(folder)), held_out)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, margins)
    return margins
