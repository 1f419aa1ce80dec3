"""``feedbackloop train``: the trainers' own functions on a file or on the warehouse's records, without bus or hub."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.cli.records import export_bytes, warehouse_ratings, warehouse_rewrites
from deploy.cli.sources import chosen_sources
from deploy.cli.stage_progress import data_report, stage_progress
from deploy.cli.summary import figures_as_text
from storage.errors import ConfigurationError, DataRefused
from storage.events import Source
from storage.settings import Settings
from trainers.data.bad_lines import DataSummary
from trainers.models.references import fetch_model
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
        ratings = warehouse_ratings(settings, chosen_sources(settings, sources)) if data is None else None
        if isinstance(row, RewardPhase):
            from trainers.reward.validation import train_reward

            report = train_reward(file, settings, kind, out=out, swap_sides=swap_sides, ratings=ratings, on_data=data_report(say))
            return json.loads(report.model_dump_json()), report.as_text()
        from trainers.api import train_policy
        from trainers.policy.methods import sized

        read: list[DataSummary] = []
        base = model or settings.common.model
        fetch_model(base, say)

        def on_data(summary: DataSummary) -> None:
            data_report(say, read.append)(summary)
            say(f"[{row.name}] " + _line(sized(row, settings.section(row.name, row.settings), base).model_dump(mode="json")))

        rewrites = warehouse_rewrites(settings, chosen_sources(settings, sources)) if data is None else None
        done = train_policy(settings, file, base, out, stage_progress(say), on_data, method=row.name, ratings=ratings, rewrites=rewrites)
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


@contextmanager
def _data(settings: Settings, file: Path | None, sources: Sequence[Source]) -> Iterator[Path]:
    """The given file, or a temporary file with the warehouse's records."""
    if file is not None:
        if not file.exists():
            raise ConfigurationError(f"{file}: there is no such file")
        yield file
        return
    wanted = chosen_sources(settings, sources)
    records = export_bytes(settings, "jsonl", wanted)
    if not records:
        raise ConfigurationError(f"there are no judgments from {', '.join(wanted)} yet: rate or import some, or name a file with --data")
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "records.jsonl"
        exported.write_bytes(records)
        yield exported
