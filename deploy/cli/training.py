"""``feedbackloop train`` and ``evaluate``: the trainers' own functions on a file or on the warehouse's records, without bus or hub."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.cli.records import export_bytes, warehouse_ratings, warehouse_rewrites
from deploy.cli.summary import figures_as_text, gates_as_text
from storage.errors import ConfigurationError, DataRefused
from storage.events import Source
from storage.settings import Settings
from trainers.data.bad_lines import DataSummary
from trainers.phases import RewardPhase
from trainers.phases import phase as phase_named

Result = tuple[dict[str, Any], str]  # for the JSON file, and as text
ALL = ("sft", "reward", "dpo", "kto", "ppo")  # the order of ``--phase all``


def train_phase(
    settings: Settings,
    phase: str,
    data: Path | None,
    model: str | None,
    out: Path,
    sources: Sequence[Source],
    say: Callable[[str], None],
    swap_sides: bool = False,
    kind: str = "head",
) -> Result:
    """Train one phase: a reward model into ``out/reward``, validated on held-out prompts, or a policy into ``out/policy``."""
    row = phase_named(phase)
    with _data(settings, data, sources) as file:
        ratings = warehouse_ratings(settings, _sources(settings, sources)) if data is None else None
        if isinstance(row, RewardPhase):
            from trainers.reward.validation import train_reward

            report = train_reward(file, settings, kind, out=out, swap_sides=swap_sides, ratings=ratings, on_data=_report_data(say))
            return json.loads(report.model_dump_json()), report.as_text()
        from trainers.api import train_policy
        from trainers.policy.methods import sized

        read: list[DataSummary] = []
        base = model or settings.common.model

        def on_data(summary: DataSummary) -> None:
            _report_data(say, read.append)(summary)
            say(f"[{row.name}] " + _line(sized(row, settings.section(row.name, row.settings), base).model_dump(mode="json")))

        rewrites = warehouse_rewrites(settings, _sources(settings, sources)) if data is None else None
        done = train_policy(settings, file, base, out, _progress(say), on_data, method=row.name, ratings=ratings, rewrites=rewrites)
    found = {
        "adapter": str(done.adapter),
        "rows": done.rows,
        "too_long": done.too_long,
        "held_out": read[0].held_out,
        "refused": read[0].bad.count,
        "steps": done.steps,
        "metrics": dict(done.metrics),
    }
    if done.stopped is not None:
        found["stopped"] = done.stopped
    return found, figures_as_text([(name, value) for name, value in found.items() if name != "metrics"] + list(done.metrics.items()))


def train_all(
    settings: Settings,
    data: Path | None,
    model: str | None,
    out: Path,
    sources: Sequence[Source],
    say: Callable[[str], None],
    kind: str = "head",
) -> Result:
    """Train every phase that the data are enough for, each into ``out/PHASE``: SFT first, and the others on its result.

    Where the reward model has passed its checks, PPO is trained against it, unless ``[ppo.rewards]`` says otherwise.
    """
    results: dict[str, Any] = {}
    texts, base = [], model or settings.common.model
    for name in ALL:
        say(f"--- {name}")
        reward = out / "reward" / "reward"
        chosen = settings
        if name == "ppo" and reward.is_dir() and "rewards" not in settings.sections.get("ppo", {}):
            chosen = settings.with_values(ppo={"rewards": {str(reward): 1.0}})
        try:
            found, text = train_phase(chosen, name, data, base, out / name, sources, say, kind=kind)
        except DataRefused as error:
            found, text = {"skipped": str(error)}, f"skipped: {error}"
        results[name] = found
        texts.append(f"--- {name}\n{text}")
        if name == "sft" and "adapter" in found:
            base = found["adapter"]
    if all("skipped" in found for found in results.values()):
        raise DataRefused("nothing could be trained: " + "; ".join(f"{name}: {found['skipped']}" for name, found in results.items()))
    return results, "\n".join(texts)


def _line(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def evaluate_model(settings: Settings, data: Path, model: str, champion: str | None, out: Path, say: Callable[[str], None]) -> Result:
    """Evaluate ``model`` against ``champion`` through the gates; write the report to ``out/report.json``."""
    if not data.exists():
        raise ConfigurationError(f"{data}: there is no such file")
    from trainers.api import evaluate_policy

    report = evaluate_policy(settings, data, model, champion or settings.common.model, out, _progress(say), _report_data(say))
    found = json.loads(report.model_dump_json())
    return found, gates_as_text(found["gates"], report.verdict) + f"\nreport: {out / 'report.json'}"


def _report_data(say: Callable[[str], None], keep: Callable[[DataSummary], None] | None = None) -> Callable[[DataSummary], None]:
    """Report what was read and, on stderr, what was refused."""

    def report(summary: DataSummary) -> None:
        if summary.bad.count:
            sys.stderr.write(f"{summary.bad.as_text()}\n")
        say(summary.as_text())
        if keep is not None:
            keep(summary)

    return report


@contextmanager
def _data(settings: Settings, file: Path | None, sources: Sequence[Source]) -> Iterator[Path]:
    """The given file, or a temporary file with the warehouse's records."""
    if file is not None:
        if not file.exists():
            raise ConfigurationError(f"{file}: there is no such file")
        yield file
        return
    wanted = _sources(settings, sources)
    records = export_bytes(settings, "jsonl", wanted)
    if not records:
        raise ConfigurationError(f"there are no judgments from {', '.join(wanted)} yet: rate or import some, or name a file with --data")
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "records.jsonl"
        exported.write_bytes(records)
        yield exported


def _sources(settings: Settings, sources: Sequence[Source]) -> Sequence[Source]:
    """The sources named on the command line; by default the configured ones and imports."""
    return sources or tuple(dict.fromkeys((*settings.common.sources, "import")))


def _progress(say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Callable[[str, int, int, dict[str, float]], None]:
    """Print a line for each quarter of a stage, with the time that is left of it at the pace so far."""
    reported: set[tuple[str, int]] = set()
    started: dict[str, tuple[float, int]] = {}

    def report(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
        since, first = started.setdefault(stage, (clock(), step))
        quarter = 4 * step // max(steps, 1)
        if (stage, quarter) not in reported:
            reported.add((stage, quarter))
            figures = "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
            left = (steps - step) * (clock() - since) / (step - first) if step > first else 0.0
            say(f"{stage}: {step} of {steps}{f', {_duration(left)} left' if left >= 1 else ''}  {figures}".rstrip())

    return report


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
