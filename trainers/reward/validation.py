"""Train a reward model on preference records and validate it on held-out ones: ``feedbackloop train --phase reward``.

Prompts are split by ``storage.strata``, as everywhere; cross-validation over all prompts, which has a narrower interval, is reported too
for kinds that train in seconds. Needs no bus and no hub.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import DataRefused
from storage.events import GateResult
from storage.settings import Settings
from storage.strata import fold_of
from storage.texts.texts import Texts
from trainers.data.bad_lines import DataSummary
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.data.records import read_preferences
from trainers.data.snapshots import ratings_in
from trainers.features.embedding import Item
from trainers.reward import measures
from trainers.reward.absolute import AbsoluteTerm
from trainers.reward.guarded import guarded_model
from trainers.reward.measures import Figure
from trainers.reward.reward import Progress, Reward, log_odds, no_progress

MODEL = "reward"  # folder of the saved model under the output folder
REPORT = "validation.json"  # in that folder
STRENGTHS = (1, 2, 3, 4)
LEAST_OF_STRENGTH = 10  # held-out preferences of a strength, below which its accuracy is not reported


class Validated(BaseModel):
    """Figures on preferences that the model has not seen.

    Attributes
    ----------
    by_strength : accuracy by the strength of the preference, where the data have strengths
    longer : accuracy of always choosing the longer reply
    length_correlation : of the difference in reward with the difference in length, around zero
    spread : mean standard deviation of the log-odds of these pairs, where the model knows its uncertainty
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int
    prompts: int
    accuracy: Figure
    auc: Figure
    log_loss: float
    calibration_error: float
    calibration_error_if_calibrated: float
    by_strength: dict[str, Figure]
    longer: Figure
    length_correlation: float
    spread: float | None = None


class RewardReport(BaseModel):
    """Results of training a reward model. Ties are trained on, but left out of every figure.

    Attributes
    ----------
    about : what was chosen in the training
    cross_validated : None for kinds whose training takes long
    spread_far : as ``held_out.spread``, between plain replies and the tricks of the audit, which lie far from the data
    absolute : the absolute term, and whether it is used as a floor; None without ratings
    checks : whether it may rank: the gates of its name contrasts and probes; empty where nothing was saved
    saved : folder of the model that was trained on the training stratum; None if it was not to be saved
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    records: int
    bad_lines: int = 0
    first_bad_line: str | None = None
    training_pairs: int
    ties: int
    about: dict[str, float | str]
    held_out: Validated
    cross_validated: Validated | None
    spread_far: float | None = None
    absolute: AbsoluteTerm | None = None
    checks: tuple[GateResult, ...]
    saved: str | None

    def as_text(self) -> str:
        """The report as a text table."""
        parts = [("held out", self.held_out), *([("cross-validated", self.cross_validated)] if self.cross_validated else [])]
        about = ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in self.about.items())
        lines = [f"{self.training_pairs} of {self.records} records train a {self.kind}: {about}; split by prompt"]
        lines.append(f"{'':24}" + "".join(f"{name + f' ({part.pairs})':>26}" for name, part in parts))

        def row(label: str, cells: Sequence[str]) -> None:
            lines.append(f"{label:24}" + "".join(f"{cell:>26}" for cell in cells))

        def with_interval(figure: Figure | None) -> str:
            return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" if figure is not None else ""

        for name, label in (("accuracy", "accuracy"), ("auc", "AUC"), ("longer", "always the longer")):
            row(label, [with_interval(getattr(part, name)) for _, part in parts])
        for strength in sorted({strength for _, part in parts for strength in part.by_strength}):
            row(f"accuracy at strength {strength}", [with_interval(part.by_strength.get(strength)) for _, part in parts])
        for name, label in (("log_loss", "log loss"), ("calibration_error", "calibration error"),
                            ("calibration_error_if_calibrated", "  if it were calibrated"),
                            ("length_correlation", "correlation with length")):  # fmt: skip
            row(label, [f"{getattr(part, name):.3f}" for _, part in parts])
        if self.held_out.spread is not None and self.spread_far is not None:
            lines.append(
                f"uncertainty of the log-odds {self.held_out.spread:.2f} on held-out pairs, {self.spread_far:.2f} far from the data"
            )
        none = 'absolute term: none (no thumbs and no "neither" to train on); the safety floor is the rule filter'
        lines.append(none if self.absolute is None else self.absolute.as_text())
        lines += [f"{gate.name}: {gate.verdict}. {gate.words}" for gate in self.checks]
        if self.saved is not None:
            lines.append(f"saved in {self.saved}")
        return "\n".join(lines)


def train_reward(
    path: Path,
    settings: Settings,
    kind: str = "head",
    *,
    out: Path | None = None,
    swap_sides: bool = False,
    ratings: Sequence[Rating] | None = None,
    on_data: Callable[[DataSummary], None] | None = None,
) -> RewardReport:
    """Train on the training stratum of a file or snapshot and validate on the rest.

    A file holds pairs and no ratings of single replies; its model has an absolute term only where they are passed.

    Parameters
    ----------
    kind : name of a row of ``trainers.reward.table``
    out : the model is checked and saved in ``out/reward``, with the report beside it; None saves nothing
    swap_sides : exchange A and B of every record first, which must not change the report
    ratings : for the absolute term; None for those of the snapshot, if ``path`` is one
    on_data : called with the counts of accepted and rejected records before training starts

    Raises
    ------
    ConfigurationError
        There is nothing readable at ``path``, or no such kind.
    DataRefused
        None of its lines is a record, or there are too few on one side of the split.
    """
    with closing(Texts.of(settings)) as texts:
        data = read_preferences(path, texts)
        ratings = ratings_in(path, texts) if ratings is None else ratings
    if on_data is not None:
        on_data(DataSummary.of(data.preferences, data.bad, data.layout))
    preferences = [each.swapped() for each in data.preferences] if swap_sides else list(data.preferences)
    bad = f"{data.bad.first[0].number}: {data.bad.first[0].reason}" if data.bad.first else None
    try:
        report = fitted_and_validated(preferences, settings, kind, out, ratings=ratings)
    except DataRefused as error:
        raise DataRefused(f"{path}: {error}") from error
    report = report.model_copy(update={"bad_lines": data.bad.count, "first_bad_line": bad})
    if report.saved is not None:
        _write(report, Path(report.saved))
    return report


def fitted_and_validated(
    preferences: Sequence[Preference],
    settings: Settings,
    kind: str,
    out: Path | None,
    *,
    ratings: Sequence[Rating] = (),
    progress: Progress = no_progress,
    cross_validate: bool = True,
) -> RewardReport:
    """As :func:`train_reward`, on preferences that are read already.

    Parameters
    ----------
    ratings : of both strata, for the absolute term; it is fitted to those of the training stratum
    cross_validate : False leaves cross-validation out where a kind has it

    Raises
    ------
    DataRefused
        There are too few on one side of the split.
    """
    from trainers.reward.table import reward_model

    row = reward_model(kind)
    training = [each for each in preferences if each.stratum == "training"]
    held_out = [each for each in preferences if each.stratum == "evaluation" and each.choice != "tie"]
    trained = sum(each.choice != "tie" for each in training)
    if len(held_out) < 10 or trained < 20:
        raise DataRefused(
            f"{trained} decisive comparisons to train on and {len(held_out)} held out; at least 20 and 10 are needed, on different prompts"
        )
    fitter = row.fitter(settings, progress)
    with tempfile.TemporaryDirectory() as spare:
        plain = fitter.fit(training, out / f"{MODEL}.part" if out is not None else Path(spare) / MODEL)
        model = guarded_model(plain, training, ratings, settings)
        cross_validated = None
        if row.folds and cross_validate:
            decisive, margins = cross_validated_margins(preferences, row.folds, lambda some: fitter.fit(some, Path(spare) / "fold"))
            cross_validated = validated(decisive, margins)
    report = RewardReport(
        kind=row.name,
        records=len(preferences),
        training_pairs=len(training),
        ties=sum(each.choice == "tie" for each in preferences),
        about={**model.about},
        held_out=validated(held_out, margins_of(model, held_out)).model_copy(update={"spread": _spread(model, _pairs(held_out))}),
        cross_validated=cross_validated,
        spread_far=_spread(model, _tricks()),
        absolute=model.absolute,
        checks=() if out is None else _checked(model, held_out, settings),
        saved=None if out is None else str(model.save(out / MODEL)),
    )
    if out is not None:
        _write(report, out / MODEL)
    return report


def _spread(model: Reward, pairs: Sequence[tuple[Item, Item]]) -> float | None:
    """The mean standard deviation of the log-odds of these pairs; None where the model gives none."""
    deviations = np.sqrt(model.compare([one for one, _ in pairs], [other for _, other in pairs]).variance)
    return float(deviations.mean()) if deviations.any() else None


def _pairs(preferences: Sequence[Preference]) -> list[tuple[Item, Item]]:
    return [((each.prompt, each.a), (each.prompt, each.b)) for each in preferences]


def _tricks() -> list[tuple[Item, Item]]:
    """The audit's plain replies, each with each of its changed versions."""
    from trainers.audits.reward.reward_probes import CHANGES, probe_items, read_texts

    items = probe_items(read_texts())
    return [(items[i], items[i + k]) for i in range(0, len(items), 1 + len(CHANGES)) for k in range(1, 1 + len(CHANGES))]


def _checked(model: Reward, held_out: Sequence[Preference], settings: Settings) -> tuple[GateResult, ...]:
    from trainers.audits.reward.reward_probes import ProbeLimits
    from trainers.audits.table import gates_section
    from trainers.reward.checks import checked

    limits: Any = settings.section("gates", gates_section())
    return checked(model, held_out, limits.name_contrast, ProbeLimits())


def _write(report: RewardReport, folder: Path) -> None:
    (folder / REPORT).write_text(report.model_dump_json(indent=1), encoding="utf-8")


def read_report(folder: Path) -> RewardReport | None:
    """The report beside a saved model; None where there is none that this version reads."""
    try:
        return RewardReport.model_validate_json((folder / REPORT).read_bytes())
    except (OSError, ValidationError):
        return None


def cross_validated_margins(
    preferences: Sequence[Preference], folds: int, fit: Callable[[Sequence[Preference]], Reward]
) -> tuple[list[Preference], np.ndarray]:
    """The decisive preferences, and the margin of each under a model that was trained on the other folds' prompts."""
    fold = np.array([fold_of(each.conversation_id, folds) for each in preferences])
    margins = np.zeros(len(preferences))
    for one in np.unique(fold):
        model = fit([preferences[i] for i in np.flatnonzero(fold != one).tolist()])
        at = np.flatnonzero(fold == one)
        margins[at] = margins_of(model, [preferences[i] for i in at.tolist()])
    decisive = [i for i, each in enumerate(preferences) if each.choice != "tie"]
    return [preferences[i] for i in decisive], margins[decisive]


def margins_of(model: Reward, preferences: Sequence[Preference]) -> np.ndarray:
    """The log-odds of the chosen replies against the rejected ones, ``(n,)``."""
    chosen: list[Item] = [(each.prompt, each.chosen) for each in preferences]
    rejected: list[Item] = [(each.prompt, each.rejected) for each in preferences]
    return log_odds(model.compare(chosen, rejected))


def validated(preferences: Sequence[Preference], margins: np.ndarray) -> Validated:
    """The figures of decisive preferences with these margins."""
    prompts = np.array([each.conversation_id for each in preferences])
    longer = np.array([float(len(each.chosen) - len(each.rejected)) for each in preferences])
    strength = np.array([each.strength or 0 for each in preferences])
    by_strength: Mapping[str, Figure] = {
        str(level): measures.with_interval(measures.accuracy, margins[strength == level], prompts[strength == level])
        for level in STRENGTHS
        if (strength == level).sum() >= LEAST_OF_STRENGTH
    }
    return Validated(
        pairs=len(preferences),
        prompts=len(set(prompts)),
        accuracy=measures.with_interval(measures.accuracy, margins, prompts),
        auc=measures.with_interval(measures.auc, margins, prompts),
        log_loss=measures.log_loss(margins),
        calibration_error=measures.calibration_error(margins),
        calibration_error_if_calibrated=measures.calibration_error_if_calibrated(margins),
        by_strength=dict(by_strength),
        longer=measures.with_interval(measures.accuracy, longer, prompts),
        length_correlation=measures.correlation(margins, longer),
    )
