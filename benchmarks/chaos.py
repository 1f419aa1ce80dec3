"""Does every acknowledged judgment count exactly once, whatever is killed?

``python -m benchmarks.chaos --minutes 5 --bus sqlite|kafka --json FILE``: the whole service under a supervisor, with a crowd of simulated
recruiters, while its processes and the broker are hit at random with ``kill -9``, SIGTERM and SIGSTOP; the learner is given an older
checkpoint; a second hub takes the numbering away and is stopped again. Then the crowd goes home, the loop comes to rest, and
``benchmarks.chaos_audit`` holds log, warehouse, reward weights and runs against what was acknowledged and against a clean replay.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.chaos_audit import Audit, audit, settled
from benchmarks.chaos_house import House, Target
from benchmarks.crowd import Crowd
from benchmarks.figures import Figure, result, write
from streams.pseudonyms import pseudonym_key

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
AHEAD = 1  # hits that a kind may have more than the least hit one: a broker that is always ready would never come to rest
RECOVERED_WITHIN = 180.0
SETTLED_WITHIN = 900.0


@dataclass(frozen=True)
class Plan:
    """How much chaos.

    Attributes
    ----------
    seconds : how long the crowd works and processes are hit
    hits : how many at least, spread evenly; ``each`` on every kind of process
    stopped : seconds between SIGSTOP and SIGCONT
    every : judged pairs between two training runs; each pair is judged by 48 people
    judgments, pairs, chats : what the crowd does a second
    second_hub, older_checkpoint : whether these are tried, about half-way
    """

    seconds: float = 300.0
    hits: int = 36
    each: int = 5
    stopped: float = 30.0
    seed: int = 0
    every: int = 60
    judgments: float = 75.0
    pairs: float = 1.5
    chats: float = 0.5
    second_hub: bool = True
    older_checkpoint: bool = True


@dataclass
class Hit:
    """One blow: when, on what, with which signal, and after how many seconds the process was ready again."""

    at: float
    name: str
    kind: str
    signal: str
    ready_after: float | None = None


@dataclass(frozen=True)
class Outcome:
    hits: list[Hit]
    judgments_per_second: float
    unanswered: dict[str, int]
    acknowledged: int
    settled_after: float
    audit: Audit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--bus", choices=("sqlite", "kafka"), default="sqlite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--keep", type=Path, help="leave everything in this folder")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seconds = arguments.minutes * (6 if arguments.quick else 60)
    plan = Plan(seconds=seconds, seed=arguments.seed)
    if arguments.quick:
        plan = Plan(seconds=seconds, seed=arguments.seed, hits=4, each=0, stopped=5.0, every=12)
    with ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        outcome = chaos(folder, plan, arguments.bus, lambda line: print(line, file=sys.stderr, flush=True))
    found = result(
        f"chaos_{arguments.bus}",
        figures(outcome, plan),
        ("duckdb", "kafka-python", "faust-streaming"),
        hits=[vars(hit) for hit in outcome.hits],
        unanswered=outcome.unanswered,
        differences=outcome.audit.differences,
    )
    write(found, arguments.json)
    sys.stdout.write(table(outcome.hits))
    if not outcome.audit.clean:
        sys.stdout.write("\n".join(outcome.audit.differences) + "\n")
        sys.exit(1)


def chaos(folder: Path, plan: Plan, bus: Literal["sqlite", "kafka"], say: Callable[[str], None]) -> Outcome:
    """Run the service in ``folder``, hit it as planned, let it come to rest, and audit what it holds."""
    rng = random.Random(f"chaos {plan.seed}")
    rates = {"judge": plan.judgments, "draw": plan.pairs, "chat": plan.chats}
    with House(folder, bus, every=plan.every, say=say) as house:
        crowd = Crowd(house.serving, house.hub, seed=plan.seed, rates=rates, key=pseudonym_key(house.settings.common))
        crowd.start()
        hits = _Blows(house, plan, rng, say).all(crowd.check)
        crowd.stop()
        say(f"{len(crowd.acknowledged)} events acknowledged, {crowd.judgments_per_second:.0f} judgments/s; coming to rest")
        rested = time.monotonic()
        house.all_ready(RECOVERED_WITHIN)
        settled(house, SETTLED_WITHIN, say)
        settled_after = time.monotonic() - rested
        house.stop_processes()
        found = audit(house, crowd.acknowledged)
    return Outcome(hits, crowd.judgments_per_second, crowd.unanswered, len(crowd.acknowledged), settled_after, found)


class _Blows:
    """Hits processes that are ready and have work, never the same one twice at a time."""

    def __init__(self, house: House, plan: Plan, rng: random.Random, say: Callable[[str], None]) -> None:
        self._house, self._plan, self._rng, self._say = house, plan, rng, say
        self._started = time.monotonic()
        self._hits: list[Hit] = []
        self._threads: list[threading.Thread] = []
        self._down: set[str] = set()
        self._choosing = threading.Lock()  # from looking who can be hit, or has to be spared, to counting it as down
        self._failures: list[BaseException] = []
        self._cycles: dict[str, list[signal.Signals]] = {}

    def all(self, check: Callable[[], None]) -> list[Hit]:
        """Until the time is over and every hit has been recovered from."""
        due = sorted(
            [(0.4, self._older_checkpoint)] * self._plan.older_checkpoint + [(0.6, self._second_hub)] * self._plan.second_hub,
            key=lambda pair: pair[0],
        )
        gap = self._plan.seconds / (self._plan.hits + 1)
        following = gap
        kept = False
        while (at := time.monotonic() - self._started) < self._plan.seconds:
            check()
            self._house.check()
            if self._failures:
                raise self._failures[0]
            if not kept and at > 0.2 * self._plan.seconds:
                kept = self._house.keep_checkpoints()
            if due and at >= due[0][0] * self._plan.seconds:
                self._begin(due.pop(0)[1])
            elif at >= following:
                with self._choosing:
                    hit = self._hit_one()
                following += gap * hit
            time.sleep(0.1)
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        return self._hits

    def _hit_one(self) -> bool:
        """Hit one of the kind that was hit least, of those that can be hit now; False where none can."""
        counts = Counter(hit.kind for hit in self._hits)
        # of those with work: the trainer has none until a run has its evidence, and then it is hit first
        least = min(counts[target.kind] for target in self._house.targets if target.has_work())
        able = [
            target
            for target in self._house.targets
            if counts[target.kind] <= least + AHEAD and target.name not in self._down and target.has_work() and target.ready()
        ]
        if not able:
            return False
        fewest = min(counts[target.kind] for target in able)
        target = self._rng.choice([target for target in able if counts[target.kind] == fewest])
        cycle = self._cycles.setdefault(target.kind, [])
        if not cycle:
            cycle += self._rng.sample(SIGNALS, len(SIGNALS))
        self._strike(target, cycle.pop())
        return True

    def _strike(self, target: Target, number: signal.Signals) -> None:
        hit = Hit(round(time.monotonic() - self._started, 1), target.name, target.kind, number.name)
        self._hits.append(hit)
        self._down.add(target.name)
        self._begin(partial(self._follow, target, number, hit))

    def _begin(self, act: Callable[[], None]) -> None:
        """In a thread of its own, since other processes are hit meanwhile."""

        def run() -> None:
            try:
                act()
            except BaseException as error:
                self._failures.append(error)
                raise

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _follow(self, target: Target, number: signal.Signals, hit: Hit) -> None:
        struck = time.monotonic()
        target.hit(number, self._plan.stopped)
        while time.monotonic() - struck < RECOVERED_WITHIN:
            if target.ready():
                hit.ready_after = round(time.monotonic() - struck, 1)
                break
            time.sleep(0.1)
        self._say(f"{hit.at:6.1f} s  {hit.name:<12} {hit.signal:<8} ready after {hit.ready_after} s")
        self._down.discard(target.name)

    @contextmanager
    def _spared(self, *kinds: str) -> Iterator[None]:
        """Within, nothing of these kinds is hit, and all of them are ready."""
        spared = [target for target in self._house.targets if target.kind in kinds]
        deadline = time.monotonic() + RECOVERED_WITHIN
        while not self._taken(spared):
            if time.monotonic() > deadline:
                raise AssertionError(f"{', '.join(kinds)} not ready after {RECOVERED_WITHIN:.0f} s")
            time.sleep(0.1)
        try:
            yield
        finally:
            self._down.difference_update(target.name for target in spared)

    def _taken(self, targets: Sequence[Target]) -> bool:
        """Count them as down, so that nothing hits them, if all of them are ready."""
        with self._choosing:
            if any(target.name in self._down or not target.ready() for target in targets):
                return False
            self._down.update(target.name for target in targets)
            return True

    def _older_checkpoint(self) -> None:
        with self._spared("processor"):
            number = self._house.exchange()
        self._say(f"{time.monotonic() - self._started:6.1f} s  the learner was given the checkpoint of preference {number}")

    def _second_hub(self) -> None:
        with self._spared("hub", "broker"):
            became = self._house.second_hub()
        self._say(f"{time.monotonic() - self._started:6.1f} s  {became}")


def figures(outcome: Outcome, plan: Plan) -> list[Figure]:
    counts = Counter(hit.kind for hit in outcome.hits)
    times = sorted(hit.ready_after for hit in outcome.hits if hit.ready_after is not None)
    unrecovered = sum(hit.ready_after is None for hit in outcome.hits)
    found = outcome.audit
    return [
        Figure("hits", len(outcome.hits), None, None, "1", f">={min(plan.hits, 30)}"),
        Figure("fewest_hits_on_a_kind", min(counts.values(), default=0), None, None, "1", f">={plan.each}"),
        Figure("unrecovered", unrecovered, None, None, "1", "==0"),
        Figure("slowest_recovery_seconds", times[-1] if times else 0.0, None, None, "s"),
        Figure("judgments_per_second", outcome.judgments_per_second, None, None, "1/s", ">=50"),
        Figure("acknowledged", outcome.acknowledged, None, None, "1"),
        Figure("lost", found.lost, None, None, "1", "==0"),
        Figure("doubled", found.doubled, None, None, "1", "==0"),
        Figure("repeats_on_the_log", found.repeats_on_the_log, None, None, "1"),
        Figure("reward_weight_difference", found.reward_weight_difference, None, None, "1", "==0"),
        Figure("preferences_learnt", found.preferences, None, None, "1"),
        Figure("prequential_accuracy", found.prequential_accuracy, None, None, "1", ">=0.6"),
        Figure("runs", found.runs, None, None, "1"),
        Figure("most_evaluations_of_a_run", found.most_evaluations, None, None, "1", "==1"),
        Figure("most_artifacts_of_a_run", found.most_artifacts, None, None, "1", "==1"),
        Figure("differences_from_a_replay", len(found.differences), None, None, "1", "==0"),
        Figure("settled_after", outcome.settled_after, None, None, "s"),
    ]


def table(hits: Sequence[Hit]) -> str:
    """The hits, a row a kind of process and signal: how many, and the median and longest seconds until ready again."""
    lines = ["| process | signal | hits | median s | longest s |", "|---|---|---|---|---|"]
    for kind in sorted({hit.kind for hit in hits}):
        for name in sorted({hit.signal for hit in hits if hit.kind == kind}):
            times = sorted(hit.ready_after or float("inf") for hit in hits if (hit.kind, hit.signal) == (kind, name))
            lines.append(f"| {kind} | {name} | {len(times)} | {times[len(times) // 2]:.1f} | {times[-1]:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
