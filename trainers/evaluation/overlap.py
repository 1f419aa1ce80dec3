"""BLEU, chrF and ROUGE-L of the replies against the replies that recruiters chose or wrote.

Such overlap is weak evidence in dialogue: many replies are right and share few words, and metrics of overlap hardly follow people's
judgments of responses (Liu et al. 2016, "How NOT To Evaluate Your Dialogue System", arXiv:1603.08023). The chosen replies were mostly
sampled from the champion or the base model, which favours models that are near these. They are reported because they are asked for.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.events import Message
from trainers.audits.statistics.intervals import Interval
from trainers.data.demonstration import Demonstration
from trainers.data.preference import Preference
from trainers.evaluation import intervals
from trainers.evaluation.measure import CONFIDENCE, Measure, Measured, Model, Names, Rows, with_bounds
from trainers.evaluation.rouge import rouge_l

if TYPE_CHECKING:
    from trainers.evaluation.subject import Subject

References = Mapping[tuple[Message, ...], tuple[str, ...]]


class ModelOverlap(Measured):
    """Of one model, with 95% intervals over prompts: corpus BLEU and chrF from 0 to 100, and the mean ROUGE-L from 0 to 1.

    ``signatures`` are sacrebleu's, which say how the scores were computed.
    """

    bleu: Interval
    chrf: Interval
    rouge_l: Interval
    signatures: dict[str, str]


class Overlap(Measured):
    """Overlap on the ``prompts`` with a reference."""

    prompts: int
    references: int
    challenger: ModelOverlap
    champion: ModelOverlap
    base: ModelOverlap


def references_of(preferences: Sequence[Preference], demonstrations: Sequence[Demonstration]) -> References:
    """The chosen replies and rewrites of the evaluation stratum by prompt, without repeats; ties have no chosen reply."""
    found: dict[tuple[Message, ...], dict[str, None]] = {}
    for each in preferences:
        if each.stratum == "evaluation" and each.choice in ("A", "B") and each.chosen.strip():
            found.setdefault(each.prompt, {})[each.chosen] = None
    for written in demonstrations:
        if written.stratum == "evaluation" and written.reply.strip():
            found.setdefault(written.prompt, {})[written.reply] = None
    return {prompt: tuple(texts) for prompt, texts in found.items()}


def measure(subject: "Subject") -> Overlap | None:
    replies, references = subject.trial.replies, references_of(subject.data.preferences, subject.data.demonstrations)
    at = [i for i, prompt in enumerate(replies.prompts) if prompt in references]
    if not at:
        return None
    of_prompt = [references[replies.prompts[i]] for i in at]
    resamples, seed = subject.settings.resamples, subject.settings.seed
    models: dict[tuple[str, ...], ModelOverlap] = {}  # equal replies are scored once
    for texts in (replies.challenger, replies.champion, replies.base):
        if texts not in models:
            models[texts] = overlap([texts[i] for i in at], of_prompt, resamples, seed)
    return Overlap(
        prompts=len(at),
        references=sum(map(len, of_prompt)),
        challenger=models[replies.challenger],
        champion=models[replies.champion],
        base=models[replies.base],
    )


def overlap(replies: Sequence[str], references: Sequence[Sequence[str]], resamples: int, seed: int) -> ModelOverlap:
    """The overlap of each reply with its references; at least one reference a reply."""
    most = max(map(len, references))
    streams = [[texts[k] if k < len(texts) else None for texts in references] for k in range(most)]  # None: no further reference
    scores: dict[str, Interval] = {}
    signatures: dict[str, str] = {}
    for name, metric in _metrics().items():
        scores[name] = _with_interval(metric, list(replies), streams, resamples, seed)
        signatures[name] = metric.get_signature().format()
    values = np.array([rouge_l(reply, texts) for reply, texts in zip(replies, references, strict=True)])
    return ModelOverlap(bleu=scores["bleu"], chrf=scores["chrf"], rouge_l=intervals.mean(values, resamples, seed), signatures=signatures)


def _metrics() -> dict[str, Any]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return {"bleu": BLEU(), "chrf": CHRF()}


def _with_interval(metric: Any, replies: list[str], streams: list[list[str | None]], resamples: int, seed: int) -> Interval:
    """The corpus score with a percentile bootstrap over replies, from sacrebleu's statistics of each.

    sacrebleu's own bootstrap ends with a TypeError where a resample scores zero (2.6.0: it averages a float among numpy's float32).
    """
    n, figure = len(replies), float(metric.corpus_score(replies, streams).score)
    if n < 2:
        return Interval(figure=figure, low=-np.inf, high=np.inf, n=n)
    statistics = metric._extract_corpus_statistics(replies, streams)
    chosen = np.random.default_rng(seed).integers(n, size=(resamples, n)).tolist()
    scores = [float(metric._aggregate_and_compute([statistics[i] for i in each]).score) for each in chosen]
    low, high = np.quantile(scores, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(figure=figure, low=float(low), high=float(high), n=n)


def rows(found: Overlap, names: Names) -> Rows:
    shown: Rows = []
    models: dict[Model, ModelOverlap] = {"challenger": found.challenger, "champion": found.champion}
    if found.base not in models.values():
        models["base"] = found.base
    for name, one in models.items():
        scores = f"BLEU {with_bounds(one.bleu, '.1f')}, chrF {with_bounds(one.chrf, '.1f')}, ROUGE-L {with_bounds(one.rouge_l)}"
        shown.append((f"Overlap with chosen replies, {names.of(name)}", scores))
    return shown


MEASURE = Measure("overlap", Overlap, measure, rows)
