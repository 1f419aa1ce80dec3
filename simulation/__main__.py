"""``python -m simulation people | review | demonstrations``: the simulated people as a program, for the demo and for trying out a server.

``people`` runs until it is stopped: ``--pace fast`` and ``duel`` as fast as the servers answer, each in its own conversations; ``slow``
with few conversations at once, for a language model that takes its time; ``calm`` leaves pairs for a person who rates along.
``demonstrations`` writes replies as recruiters would write them, in TRL's columns.
"""

import argparse
import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from simulation.calls import HUB, SERVING, client
from simulation.demonstrations import draw_demonstrations
from simulation.people import Chats, Judgments, candidates_chat, recruiters_judge, reviewer_decides
from simulation.recruiters import Recruiter
from simulation.world import World

RECRUITERS = 12
MANY = 1_000_000


@dataclass(frozen=True)
class Pace:
    """Conversations in total, how many at once and begun per second, judgments per second (None: no limit).

    ``fresh`` is added to the seed, so that each pace has its own conversations.
    """

    conversations: int
    concurrency: int
    begun: float | None
    judged: float | None
    fresh: int


PACES = {
    "fast": Pace(6000, 24, None, None, 0),
    "slow": Pace(6000, 6, None, None, 0),
    "duel": Pace(6000, 24, None, None, 2 * MANY),
    "calm": Pace(6000, 4, 0.7, 0.1, MANY),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulation", description="Simulated candidates, recruiters and a reviewer.")
    parser.add_argument("what", choices=("people", "review", "demonstrations"))
    parser.add_argument("--serving", default=SERVING)
    parser.add_argument("--hub", default=HUB)
    parser.add_argument("--seed", type=int, default=0, help="seed of the world and its recruiters' taste")
    parser.add_argument("--pace", choices=tuple(PACES), default="fast")
    parser.add_argument("--version", help="review: the version to decide on")
    parser.add_argument("--out", type=Path, help="demonstrations: the JSONL file to write")
    parser.add_argument("--count", type=int, default=480, help="demonstrations: how many")
    for control in ("null", "null-panel", "plant", "drift"):
        parser.add_argument(f"--{control}", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "demonstrations":
        if arguments.out is None:
            parser.error("demonstrations: name the file to write with --out")
        _write_demonstrations(arguments.out, arguments.seed, arguments.count)
        return
    sys.exit(asyncio.run(_people(arguments) if arguments.what == "people" else _review(arguments)))


def _write_demonstrations(file: Path, seed: int, count: int) -> None:
    drawn = draw_demonstrations(seed, count)
    lines = (json.dumps({"prompt": each.prompt, "completion": each.reply}) for each in drawn)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


async def _people(arguments: argparse.Namespace) -> int:
    """Chat and judge until SIGTERM or SIGINT, then print a summary."""
    pace = PACES[arguments.pace]
    world = World(arguments.seed, null=arguments.null, null_panel=arguments.null_panel, plant=arguments.plant, drift=arguments.drift)
    recruiters = [Recruiter.draw(world, number) for number in range(RECRUITERS)]
    chats, judgments, seed = Chats(), Judgments(), arguments.seed + pace.fresh
    async with client(limits=httpx.Limits(max_connections=64)) as http:
        talk = candidates_chat(
            http,
            world,
            total=pace.conversations,
            seed=seed,
            chats=chats,
            serving=arguments.serving,
            concurrency=pace.concurrency,
            rate=pace.begun,
        )
        judging = recruiters_judge(
            http,
            world,
            chats,
            recruiters=recruiters,
            judgments=MANY,
            seed=seed,
            result=judgments,
            serving=arguments.serving,
            hub=arguments.hub,
            rate=pace.judged,
            drift_after=300,
            patience=float(MANY),
        )
        tasks = [asyncio.create_task(talk), asyncio.create_task(judging)]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: [task.cancel() for task in tasks])
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    agreed = f"{judgments.agreed / judgments.decisive:.2f}" if judgments.decisive else "–"
    print(
        f"{chats.replies} replies, {judgments.count} judgments {dict(judgments.choices)}, agreement with the true taste {agreed}",
        flush=True,
    )
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return 0


async def _review(arguments: argparse.Namespace) -> int:
    async with client() as http:
        decided = await reviewer_decides(http, version=arguments.version, hub=arguments.hub, deadline=45.0)
    print(f"approved {decided}" if decided else "no version awaits review", flush=True)
    return 0 if decided else 1


if __name__ == "__main__":
    main()
