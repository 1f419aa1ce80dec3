"""Training and evaluation from Python, without bus or hub: what ``feedbackloop train --phase dpo`` and ``feedbackloop evaluate`` call.

Data is a file of preference records (JSONL, gzipped or not, Parquet) or a snapshot's folder. Nothing is published; results lie in the
folder that is given.
"""

import uuid
from collections.abc import Callable
from pathlib import Path

from storage.settings import Settings
from storage.snapshots.snapshot import Snapshot, open_snapshot
from trainers.audits.gates.limits import Limits
from trainers.audits.gates.verdict import Evidence, gate, verdict
from trainers.audits.settings import EvaluationSettings
from trainers.audits.trial import Replies, try_out
from trainers.data.bad_lines import BadLines, DataSummary
from trainers.data.preference import Preference, to_train_on
from trainers.data.records import read_preferences
from trainers.data.snapshots import TrialPrompt, preferences_of, trial_prompts, trial_prompts_among
from trainers.features.embedder import Embedder, FeatureSettings
from trainers.models.generation import Policy, generate, load_policy
from trainers.models.model_files import adapter_base, is_adapter
from trainers.policy.dpo import DPOSettings, Trained, train_dpo
from trainers.reward.online.head import HeadSettings
from trainers.runs.job import base_hash, file_hash
from trainers.runs.pipeline import write_whole
from trainers.runs.report import Data, Lineage, Report
from trainers.runs.stages import findings

Progress = Callable[[str, int, int, dict[str, float]], None]
OnData = Callable[[DataSummary], None]


def _nothing(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
    """Nobody wants to know."""


def train_policy(
    settings: Settings, data: Path, model: str, out: Path, progress: Progress = _nothing, on_data: OnData | None = None
) -> Trained:
    """Train an adapter on ``model`` from the training stratum of ``data`` into ``out/policy``.

    ``on_data`` is called with what was read, and what was refused, before training starts.

    Raises
    ------
    ConfigurationError, ModelNotFound
        ``data`` or ``model`` is not there.
    DataRefused
        Not one line of ``data`` is a record, or there is too little to train on.
    """
    judgments, _ = _read(data, on_data)
    out.mkdir(parents=True, exist_ok=True)
    own = settings.section("dpo", DPOSettings)
    return train_dpo(model, to_train_on(judgments), own, out, lambda step, steps, m: progress("train", step, steps, dict(m)))


def evaluate_policy(
    settings: Settings, data: Path, model: str, champion: str, out: Path, progress: Progress = _nothing, on_data: OnData | None = None
) -> Report:
    """Hold ``model`` against ``champion`` by the evaluation stratum of ``data``, through the gates; the report goes to ``out/report.json``.

    Parameters
    ----------
    model, champion : a folder with an adapter or a model, a Hugging Face id, or ``shipped``. The KL budget is counted from the model below
        the challenger's adapter; from the champion where the challenger has none
    on_data : called with what was read, and what was refused, before any model is loaded

    Raises
    ------
    ConfigurationError, ModelNotFound
        Something is not there.
    DataRefused
        Not one line of ``data`` is a record, or the evaluation stratum holds nothing to judge by.
    """
    own = settings.section("evaluation", EvaluationSettings)
    limits = settings.section("gates", Limits)
    learning = settings.section("learning", HeadSettings)
    features = settings.section("features", FeatureSettings)
    judgments, snapshot = _read(data, on_data)
    trials: list[TrialPrompt] = trial_prompts(snapshot, own.prompts) if snapshot else trial_prompts_among(judgments, own.prompts)
    policies = _Loaded()
    challenger, held_against = policies.load(model), policies.load(champion)
    below = adapter_base(Path(model).expanduser()) if is_adapter(Path(model).expanduser()) else None
    base = policies.load(below) if below else held_against
    prompts = tuple(trial.prompt for trial in trials)
    twice = prompts[: own.null_prompts]
    asked = ((challenger, prompts), (held_against, prompts), (held_against, twice))
    total = sum(len(each) for _, each in asked)
    spoken: list[tuple[str, ...]] = []

    def say(done: int, _: int) -> None:
        progress("sample", sum(map(len, spoken)) + done, total, {})

    for number, (policy, each) in enumerate(asked):
        spoken.append(tuple(generate(policy, each, own.sampling, 3 * own.seed + number, progress=say)))
    embedding = Embedder.load(features)
    found = try_out(
        Replies(prompts, spoken[0], spoken[1], spoken[2]),
        judgments,
        embedding,
        (challenger, held_against, base),
        own,
        learning,
        0,
        lambda step, steps: progress("evaluate", step, steps, {}),
    )
    results = gate(Evidence.of(found), limits)
    sections = {"evaluation": own, "gates": limits, "learning": learning, "features": features}
    source = data / "manifest.json" if data.is_dir() else data
    report = Report(
        run_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{file_hash(source)} {model} {champion}")),
        version=model,
        policy=None,
        base=below or model,
        champion=champion,
        champion_policy=None,
        challengers_before=0,
        lineage=Lineage(
            snapshot=file_hash(source),
            through_sequence=snapshot.manifest.through_sequence if snapshot else None,
            sources=tuple(sorted({judgment.source for judgment in judgments})),
            embedding=found.embedding,
            embedding_hash=found.embedding_hash,
            reward_head=found.reward_head,
            base_hash=base_hash(below or model),
        ),
        data=Data(
            training_judgments=sum(judgment.stratum == "training" for judgment in judgments),
            decisive=len(to_train_on(judgments)),
            used=None,
            evaluation_judgments=found.win_rate.judgments,
            evaluation_recruiters=found.win_rate.recruiters,
            prompts=found.win_rate.prompts,
            overlap=snapshot.overlap if snapshot else 0,
        ),
        training=None,
        sampling=own.sampling,
        settings={name: section.model_dump(mode="json") for name, section in sections.items()},
        gates=results,
        verdict=verdict(results),
        **findings(found),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "report.json", report.model_dump_json(indent=1).encode())
    return report


def _read(data: Path, on_data: OnData | None) -> tuple[list[Preference], Snapshot | None]:
    snapshot, bad = None, BadLines(data)
    if data.is_dir():
        snapshot = open_snapshot(data)
        judgments = preferences_of(snapshot)
    else:
        found = read_preferences(data)
        judgments, bad = list(found.preferences), found.bad
    if on_data is not None:
        on_data(DataSummary.of(judgments, bad))
    return judgments, snapshot


class _Loaded:
    """Each model once, whatever names it: a champion that is the base has to be the same object."""

    def __init__(self) -> None:
        self._policies: dict[str, Policy] = {}

    def load(self, ref: str) -> Policy:
        if ref not in self._policies:
            self._policies[ref] = load_policy(ref)
        return self._policies[ref]
