"""A reward model from nothing, in four steps: generate pairs, label them, train, rerank. It needs no bus and no hub.

    python examples/reward_model.py generate pairs.jsonl
    python examples/reward_model.py label pairs.jsonl labelled.jsonl
    python examples/reward_model.py train labelled.jsonl out
    python examples/reward_model.py rerank out/reward "When is my interview?" "On Monday at ten." "Soon."

The pairs are two replies of the shipped model to each question. Labelling asks for one key a pair and goes on where it stopped.
"""

import argparse
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

from feedbackloop import RewardModel
from storage.events import Message, Sampling
from storage.settings import Settings
from trainers.models.engine import generate as sample
from trainers.models.policy import load_policy
from trainers.reward.validation import train_reward

FACTS = "Employer: Brightwater. Stage: second interview. Free slots: {day} 10:00, Friday 14:00."
ROLES = ("night nurse", "forklift driver", "payroll clerk", "line cook", "site electrician", "data analyst", "florist", "welder")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday")
QUESTIONS = ("When is my interview for the {role} job?", "I applied as {role}. What happens next?", "Can we move my {role} interview?")
KEYS = {"1": ("a", "b"), "2": ("b", "a")}
SEED = 1


def generate(out: Path, count: int) -> None:
    """Write ``count`` pairs: two replies to each prompt, which differ."""
    policy = load_policy("shipped")
    prompts = [
        (Message(role="system", content=FACTS.format(day=day)), Message(role="user", content=question.format(role=role)))
        for role, day, question in product(ROLES, DAYS, QUESTIONS)
    ][:count]
    first, second = (sample(policy, prompts, Sampling(max_tokens=96), seed) for seed in (SEED, SEED + 1))
    pairs = [
        {"prompt": [each.model_dump() for each in prompt], "a": a, "b": b}
        for prompt, a, b in zip(prompts, first, second, strict=True)
        if a.strip() and b.strip() and a != b
    ]
    out.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    print(f"{len(pairs)} pairs in {out}")


def label(pairs: Path, out: Path, ask: Callable[[str], str] = input) -> None:
    """Ask which reply is better, and append the answers as TRL's preference records; ties are left out."""
    asked = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    done = {json.dumps(json.loads(line)["prompt"]) for line in out.read_text(encoding="utf-8").splitlines()} if out.exists() else set()
    with out.open("a", encoding="utf-8") as file:
        for number, pair in enumerate(asked, start=1):
            if json.dumps(pair["prompt"]) in done:
                continue
            print(f"\n{number} of {len(asked)}: {pair['prompt'][-1]['content']}\n  1  {pair['a']}\n  2  {pair['b']}")
            while (key := ask("1, 2, t for a tie, q to stop: ").strip().lower()) not in (*KEYS, "t", "q"):
                pass
            if key == "q":
                return
            if key in KEYS:
                chosen, rejected = KEYS[key]
                file.write(json.dumps({"prompt": pair["prompt"], "chosen": pair[chosen], "rejected": pair[rejected]}) + "\n")
                file.flush()


def train(labelled: Path, out: Path) -> None:
    """Train on three prompts in four, report on the others, and save the model in ``out/reward``."""
    print(train_reward(labelled, Settings.read(), out=out).as_text())


def rerank(folder: Path, question: str, replies: list[str]) -> None:
    """Print the replies, the best first."""
    for each in RewardModel.load(folder).rerank(question, replies):
        print(f"{each.relevance_score:.2f}  {replies[each.index]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("generate")
    step.add_argument("out", type=Path)
    step.add_argument("--count", type=int, default=96)
    step = steps.add_parser("label")
    step.add_argument("pairs", type=Path)
    step.add_argument("out", type=Path)
    step = steps.add_parser("train")
    step.add_argument("labelled", type=Path)
    step.add_argument("out", type=Path)
    step = steps.add_parser("rerank")
    step.add_argument("folder", type=Path)
    step.add_argument("question")
    step.add_argument("replies", nargs="+")
    given = vars(parser.parse_args())
    step_of: dict[str, Callable[..., None]] = {"generate": generate, "label": label, "train": train, "rerank": rerank}
    step_of[given.pop("step")](**given)


if __name__ == "__main__":
    main()
