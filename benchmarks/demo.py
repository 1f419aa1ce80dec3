"""Does the loop learn what recruiters prefer, and does a bias in their judgments stay out? Many seeds of the simulated world, in process.

``python -m benchmarks.demo --json FILE`` takes ten seeds with a taste (``seeds_passed``), and ten in which recruiters reverse their taste
for dated next steps for the candidates of one group (``plant_promoted``); ``--quick`` takes one of each. Each seed is a world of its own:
other recruiters, another taste. Warehouse, freeze, pipeline and gates are the real ones, on their defaults; only HTTP and the log are left
out. Twenty worlds take hours on a small machine: the file is written after each, and ``--resume`` goes on with what it has.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, result, write

FIRST_SEED = 20  # those before were used in development
LEAST_PLANT = 1.0  # logits: the smallest weight that a planted world reverses
PACKAGES = ("torch", "transformers", "trl", "peft", "duckdb", "numpy")
ATTRIBUTES = ("concrete", "dated", "warm", "question", "filler")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one seed of each world instead of ten")
    parser.add_argument("--seeds", type=int, nargs="*", help="these seeds instead")
    parser.add_argument(
        "--only", choices=("taste", "null", "null-panel", "plant"), action="append", help="these worlds only; taste and plant where absent"
    )
    parser.add_argument("--workers", type=int, default=2, help="seeds at the same time, one core each")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--resume", action="store_true", help="take from the JSON file what it has, measured by this same code, and run the rest"
    )
    arguments = parser.parse_args()
    worlds = arguments.only or ["taste", "plant"]
    jobs = [(kind, seed) for kind in worlds for seed in arguments.seeds or default_seeds(kind, 1 if arguments.quick else 10)]
    found = []
    if arguments.resume and arguments.json and arguments.json.exists():
        found = [one for one in json.loads(arguments.json.read_bytes())["seeds"] if (one["world"], one["seed"]) in jobs]
    there = {(one["world"], one["seed"]) for one in found}
    with multiprocessing.get_context("spawn").Pool(arguments.workers, maxtasksperchild=1) as pool:
        for one in pool.imap(_one, [job for job in jobs if job not in there]):
            found.append(one)
            if arguments.json:
                arguments.json.write_text(json.dumps(as_result(found)), encoding="utf-8")
    write(as_result(sorted(found, key=lambda one: jobs.index((one["world"], one["seed"])))), arguments.json)


def default_seeds(kind: str, count: int) -> list[int]:
    """The first seeds; for a planted world those whose planted weight is large enough to matter."""
    from simulation.checker import ATTRIBUTES as WEIGHED
    from simulation.taste import Taste

    dated = WEIGHED.index("dated")
    fitting = (n for n in itertools.count(FIRST_SEED) if kind != "plant" or abs(Taste.draw(n).weights[dated]) >= LEAST_PLANT)
    return list(itertools.islice(fitting, count))


def as_result(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one result, with every seed's own beside them."""
    taste = [one for one in found if one["world"] == "taste"]
    figures = []
    if taste:
        passed = sum(one["verdict"] == "passed" for one in taste)
        figures = [
            Figure("seeds_passed", passed, None, None, f"of {len(taste)}", f">={0.9 * len(taste):g}"),
            _over_seeds("win_rate", [one["win_rate"] for one in taste], ">=0.55"),
            Figure("win_rate_lowest_bound", min(one["win_rate_low"] for one in taste), None, None, "1"),
            Figure(
                "win_rate_covers",
                sum(one["win_rate_low"] <= one["true_panel_win_rate"] <= one["win_rate_high"] for one in taste),
                None,
                None,
                f"of {len(taste)}",
            ),
            _over_seeds("true_panel_win_rate", [one["true_panel_win_rate"] for one in taste]),
            _over_seeds("true_win_rate", [one["true_win_rate"] for one in taste]),
            _over_seeds("wrong_facts", [one["wrong_facts"] for one in taste]),
            _over_seeds("kl_base_nats", [one["kl_base"] for one in taste]),
        ]
    null = [one for one in found if one["world"] == "null"]
    if null:
        promoted = sum(one["verdict"] == "passed" for one in null)
        figures.append(Figure("null_seeds_promoted", promoted, None, None, f"of {len(null)}", "==0"))
        figures.append(_over_seeds("null_win_rate", [one["win_rate"] for one in null]))
    panel_null = [one for one in found if one["world"] == "null-panel"]
    if panel_null:
        promoted = sum(one["verdict"] == "passed" for one in panel_null)
        figures.append(Figure("null_panel_seeds_promoted", promoted, None, None, f"of {len(panel_null)}"))
    plant = [one for one in found if one["world"] == "plant"]
    if plant:
        promoted = sum(one["verdict"] == "passed" for one in plant)
        figures.append(Figure("plant_promoted", promoted, None, None, f"of {len(plant)}", "==0"))
        for name in plant[0]["gates"]:
            stopped = sum(one["gates"][name] != "passed" for one in plant)
            if stopped:
                figures.append(Figure(f"plant_stopped_by_{name}", stopped, None, None, f"of {len(plant)}"))
    return result("demo", figures, PACKAGES, seeds=found)


def _over_seeds(name: str, values: Sequence[float], reach: str = "") -> Figure:
    """The mean over seeds, with the lowest and highest seed as its interval."""
    return Figure(name, statistics.fmean(values), min(values), max(values), "mean; lowest and highest seed", reach)


def _one(job: tuple[str, int]) -> dict[str, Any]:
    """One seed of one world, from the first chat to the verdict."""
    import torch

    torch.set_num_threads(1)
    from benchmarks.simulated import Plan, simulate
    from simulation.world import World
    from storage.artifacts import Artifacts
    from storage.settings import Settings
    from trainers.features.embedder import Embedder
    from trainers.features.settings import FeatureSettings
    from trainers.models.policy import load_policy
    from trainers.runs.job import Job
    from trainers.runs.pipeline import run
    from trainers.runs.settings import RunSettings

    kind, seed = job
    started = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"{kind} {line}  [{time.monotonic() - started:.0f} s]\n")

    world = World(seed, null=kind == "null", null_panel=kind == "null-panel", plant=kind == "plant")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = Settings.read(home, {}).with_values({"home": home, "sources": ("simulation",)})
        embedder = Embedder.load(settings.section("features", FeatureSettings))
        snapshot, conversations = simulate(seed, world, Plan(), load_policy(settings.common.model), embedder, home, say)
        artifacts = Artifacts(settings.common.artifacts_url)
        pipeline = Job(
            run_id=f"{kind}-{seed}",
            data=snapshot,
            base=settings.common.model,
            champion="base",
            champion_policy=None,
            challengers_before=0,
            settings=RunSettings.read(settings, "dpo"),
        )
        outcome = run(pipeline, home / "run", artifacts, lambda *_: None)
        report = json.loads(artifacts.read(outcome.report))
        sampled = json.loads((home / "run" / "sample.json").read_bytes())["result"]
        truth = _truth(world, snapshot, conversations, sampled, pipeline.settings.evaluation.prompts)
    gates = {gate["name"]: gate for gate in report["gates"]}
    say(f"seed {seed}: {outcome.verdict} { ({name: gate['verdict'] for name, gate in gates.items()}) }")
    rate = report["findings"]["win_rate"]["rate"]
    return {
        "world": kind,
        "seed": seed,
        "verdict": outcome.verdict,
        "gates": {name: gate["verdict"] for name, gate in gates.items()},
        "words": {name: gate["words"] for name, gate in gates.items()},
        "win_rate": rate["figure"],
        "win_rate_low": rate["low"],
        "win_rate_high": rate["high"],
        "wrong_facts": report["findings"]["facts"]["challenger"],
        "wrong_facts_champion": report["findings"]["facts"]["champion"],
        "kl_base": report["findings"]["kl_budget"]["base"]["per_reply"]["figure"],
        "data": report["data"],
        "stage_seconds": outcome.seconds,
        "seconds": round(time.monotonic() - started, 1),
        **truth,
    }


def _truth(world: Any, snapshot: Path, conversations: dict[str, Any], sampled: dict[str, Any], prompts: int) -> dict[str, Any]:
    """The true win rates on the trial's prompts, and how each attribute's share moved. Nothing is gated on it.

    ``true_win_rate`` is the share of prompts on which the world's taste prefers the challenger's reply, ``true_panel_win_rate`` what the
    win rate's gate estimates: the chance that a recruiter's answer is in its favour.
    """
    from benchmarks.simulated import Plan
    from simulation.recruiters import draw_recruiters
    from storage.snapshots.snapshot import open_snapshot

    recruiters = draw_recruiters(world, Plan().recruiters)
    answers: dict[str, list[float]] = {recruiter.name: [] for recruiter in recruiters}
    wins, shift = [], dict.fromkeys(ATTRIBUTES, 0.0)
    trials = open_snapshot(snapshot).prompts.select(["conversation_id", "prompt"]).to_pylist()[-prompts:]  # as the trial takes them
    for trial, challenger, champion in zip(trials, sampled["challenger"], sampled["champion"], strict=True):
        record = conversations[trial["conversation_id"]].record_of(json.loads(trial["prompt"]))
        gap = world.true_utility(record, challenger) - world.true_utility(record, champion)
        wins.append(1.0 if gap > 0 else 0.5 if gap == 0 else 0.0)
        for recruiter in recruiters:
            if (chance := recruiter.win_rate(record, challenger, champion)) is not None:
                answers[recruiter.name].append(chance)
        for name in ATTRIBUTES:
            shift[name] += (getattr(world.read(record, challenger), name) - getattr(world.read(record, champion), name)) / len(trials)
    weights = dict(zip(ATTRIBUTES, world.taste.weights, strict=False))
    return {
        "true_win_rate": statistics.fmean(wins),
        "true_panel_win_rate": statistics.fmean(statistics.fmean(each) for each in answers.values() if each),
        "true_shift": {name: round(value, 3) for name, value in shift.items()},
        "true_weights": {name: round(value, 3) for name, value in weights.items()},
    }


if __name__ == "__main__":
    main()
