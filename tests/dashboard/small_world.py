"""Events of a small loop on a real bus, published as the stations publish them, and a hub that runs on it."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import UUID

import httpx
import numpy as np
import orjson

from dashboard.hub import Hub, Server
from storage.artifacts import Artifacts
from storage.events import (
    Choice,
    DatasetFrozen,
    Event,
    GateResult,
    JudgmentGiven,
    Message,
    ModelEvaluated,
    PairDrawn,
    PairEmbedded,
    ReplySent,
    Response,
    RewardUpdated,
    RunClaimed,
    Sampling,
    Source,
    TrainingFailed,
    TrainingProgress,
    TrainingRequested,
    derived_id,
    new_id,
    pack,
)
from storage.settings import Settings
from storage.strata import stratum_of
from streams.bus.open import open_bus
from streams.bus.protocol import Bus, records_of
from streams.health import listen
from streams.versions import verdict_of, version_name
from tests.dashboard.evaluated import gate_results, report_on
from trainers.policy.reply_samples import RepliesAt, ReplySamples
from trainers.runs.frozen import FIRST_REQUIRED, FrozenSettings

EMBEDDING = "0" * 64
INVENTED: dict[str, Any] = {
    "gates": {"of_another_version": {}}
}  # settings with which promoting does not apply our gates to invented findings
Found = TypeVar("Found")
ROLES = ("warehouse shift lead", "staff nurse", "bookkeeper", "tram driver", "site engineer")
NAMES = ("Amira Haddad", "Jonas Weber", "Mei Chen", "Kwame Mensah", "Lucía Ortega", "Piotr Nowak")
DAYS = ("Tuesday at 10:00", "Thursday at 15:00", "Friday at 09:30")


@dataclass
class SmallWorld:
    """Publishes events; deterministic except for ids and timestamps."""

    settings: Settings
    bus: Bus
    pairs: list[PairDrawn] = field(default_factory=list)
    sequence: int = 0
    seen: int = 0
    frozen: dict[UUID, FrozenSettings] = field(default_factory=dict)  # of runs that were requested with settings
    policies: dict[str, str] = field(default_factory=dict)  # of the versions evaluated

    def publish(self, *events: Event) -> None:
        self.bus.publish(records_of(events), timeout=5)

    def chat(self, count: int, source: Source = "simulation") -> None:
        """Candidates ask, the chatbot answers; each turn is drawn as a pair and embedded."""
        events: list[Event] = []
        for n in range(len(self.pairs), len(self.pairs) + count):
            name, role, day = NAMES[n % 6], ROLES[n % 5], DAYS[n % 3]
            told = f"Employer: Brightwater\nRole: {role}\nStage: second interview\nFree slots: {DAYS[n % 3]}, {DAYS[(n + 1) % 3]}"
            prompt = (
                Message(role="system", content=told),
                Message(role="user", content=f"Hello, this is {name}. I applied as {role} and would like to move my interview."),
                Message(role="assistant", content=f"Hello {name.split()[0]}, of course. Which part of the week suits you?"),
                Message(role="user", content="Rather late in the week, please."),
            )
            good = f"{day} is free, {name.split()[0]}. Shall I book it? A confirmation follows by mail today. (request {n + 1})"
            vague = f"Thank you for your message. We will look into it and come back to you in due course. (request {n + 1})"
            about: dict[str, Any] = {"conversation_id": f"conversation-{n}", "prompt": prompt, "source": source}
            about["stratum"] = stratum_of(about["conversation_id"])
            a, b = Response(text=good, version="base"), Response(text=vague, version="base")
            arm = "informative" if about["stratum"] == "training" else "uniform"
            pair = PairDrawn(pair_id=new_id(), a=a, b=b, drawn="sampled", probability=1.0, arm=arm, **about)
            events += [ReplySent(reply=good, version="base", sampling=Sampling(), **about), pair, self.embedded(pair)]
            self.pairs.append(pair)
        self.publish(*events)

    def embedded(self, pair: PairDrawn) -> PairEmbedded:
        numbers = np.random.default_rng(pair.pair_id.int % 2**32)
        a, b = (pack(numbers.normal(size=8)) for _ in "ab")
        return PairEmbedded(
            event_id=derived_id("PairEmbedded", pair.event_id, EMBEDDING),
            source=pair.source,
            pair_id=pair.pair_id,
            embedding="test",
            embedding_hash=EMBEDDING,
            a=a,
            b=b,
        )

    def judge(self, count: int, source: Source = "simulation") -> None:
        """A recruiter (given as a pseudonym) judges the first ``count`` pairs."""
        choices: list[Choice] = ["A", "A", "tie", "B", "A"]
        self.publish(
            *[
                JudgmentGiven(
                    pair_id=pair.pair_id, recruiter=f"r-{n % 8:016x}", choice=choices[n % 5], shown_first="A", seconds=4, source=source
                )
                for n, pair in enumerate(self.pairs[:count])
            ]
        )

    def learn(self, judgments: int) -> None:
        """The reward model reports after every few judgments."""
        last = self.seen + judgments
        updates: list[Event] = []
        while self.seen < last:
            before, self.seen = self.seen, min(self.seen + 5, last)
            share = 0.72 - 0.2 * 0.985**self.seen + 0.012 * np.sin(self.seen / 7)
            updates.append(
                RewardUpdated(
                    source="simulation",
                    head_id="1" * 64,
                    sequence=self.seen,
                    judgments_before=before,
                    judgments_seen=self.seen,
                    mean=pack(np.zeros(8)),
                    prequential_accuracy=float(share),
                    prequential_log_loss=0.6,
                    prequential_n=min(self.seen, 200),
                    checkpoint="2" * 64,
                )
            )
        self.publish(*updates)

    def request(
        self,
        k: int,
        threshold: Literal["count", "manual"] = "count",
        through: int = 200,
        sections: dict[str, Any] | None = None,
        requested_by: str | None = None,
        champion: str = "base",
        required: tuple[str, ...] = FIRST_REQUIRED,
    ) -> TrainingRequested:
        """Publish a run that is already frozen, so that the hub makes no snapshot of it.

        With ``sections`` these are its settings; otherwise it has none, as runs of older programs, and its version needs no duel.
        """
        frozen = None if sections is None else FrozenSettings(method="dpo", sections=sections, required=required)
        request = TrainingRequested(
            run_id=new_id(),
            method="dpo",
            threshold=threshold,
            k=k,
            through_sequence=through,
            sources=("simulation",),
            settings=None if frozen is None else Artifacts(self.settings.common.artifacts_url).put_bytes(frozen.as_bytes()),
            requested_by=requested_by,
            source="simulation",
        )
        if frozen is not None:
            self.frozen[request.run_id] = frozen
        snapshot = DatasetFrozen(
            event_id=derived_id("DatasetFrozen", request.run_id),
            source="simulation",
            run_id=request.run_id,
            snapshot=Artifacts(self.settings.common.artifacts_url).put_bytes(b"snapshot"),
            champion=champion,
            champion_policy=None if champion == "base" else self.policies[champion],
            challengers_before=0,
        )
        self.publish(request, snapshot, RunClaimed(source="simulation", run_id=request.run_id, attempt=1, trainer="trainer-1"))
        return request

    def train(self, request: TrainingRequested, upto: int, of: int = 120) -> None:
        replies = ReplySamples(
            prompts=((Message(role="user", content="When do I hear from you?"),),),
            samples=(RepliesAt(step=0, replies=("See the portal.",)), RepliesAt(step=upto, replies=("We will write by Friday.",))),
        )
        stored = Artifacts(self.settings.common.artifacts_url).put_bytes(replies.model_dump_json().encode())
        steps = [
            TrainingProgress(
                source="simulation",
                run_id=request.run_id,
                attempt=1,
                stage="train",
                step=step,
                steps=of,
                artifacts={"replies": stored},
                metrics={"loss": 0.25 + 0.44 * 0.97**step + 0.02 * np.sin(step), "reward_margin": 0.02 * step + 0.1 * np.sin(step / 3)},
            )
            for step in range(2, upto + 1, 2)
        ]
        word = {"source": "simulation", "run_id": request.run_id, "attempt": 1, "step": 0, "steps": 1}
        begun = [TrainingProgress.model_validate(word | {"stage": stage}) for stage in ("start", "check")]
        self.publish(*begun, *steps)

    def fail(self, request: TrainingRequested, reason: str, artifacts: dict[str, str] | None = None) -> None:
        word = {"run_id": request.run_id, "attempt": 1, "stage": "check", "step": 0, "steps": 1}
        self.publish(TrainingProgress.model_validate({"source": "simulation", "artifacts": artifacts or {}} | word))
        self.publish(TrainingFailed(source="simulation", run_id=request.run_id, attempt=1, stage="check", reason=reason, final=True))

    def evaluate(
        self,
        request: TrainingRequested,
        policy: str,
        facts: str = "passed",
        names: str = "passed",
        champion: str = "base",
        more: tuple[GateResult, ...] = (),
    ) -> str:
        """Publish the run's evaluation, with policy (a file with this text) and report as artifacts; returns the version's name.

        ``more`` take the place of the gates of the same name.
        """
        instead = {each.name: each for each in more}
        gates = tuple(instead.get(each.name, each) for each in gate_results(facts, names))
        artifacts = Artifacts(self.settings.common.artifacts_url)
        policy = artifacts.put_bytes(policy.encode())
        version = version_name(policy)
        self.policies[version] = policy
        about: dict[str, Any] = {"champion": champion, "champion_policy": self.policies.get(champion), "settings": INVENTED}
        about["gates"] = [each.model_dump(mode="json") for each in gates]
        about["verdict"] = verdict_of(gate.verdict for gate in gates)
        if request.run_id in self.frozen:
            about["settings"] = self.frozen[request.run_id].sections
        report = artifacts.put_bytes(orjson.dumps(report_on(version, policy, str(request.run_id), facts, names) | about))
        self.publish(
            ModelEvaluated(
                source="simulation",
                version=version,
                run_id=request.run_id,
                policy=policy,
                report=report,
                champion=champion,
                gates=gates,
                verdict=verdict_of(gate.verdict for gate in gates),
            )
        )
        return version

    def duel(
        self, version: str, outcomes: Sequence[float], *, recruiters: int = 12, drawn: str = "duel", champion: str = "base"
    ) -> list[JudgmentGiven]:
        """Recruiters judge ``version``'s replies against the champion's: 1 won, 0.5 level, 0 lost; the sides alternate."""
        events: list[Event] = []
        judgments = []
        for number, outcome in enumerate(outcomes):
            swapped = number % 2 == 1
            versions = (champion, version) if swapped else (version, champion)
            pair_id = new_id()
            pair = PairDrawn(
                pair_id=pair_id,
                conversation_id=f"duel-{pair_id}",
                prompt=(Message(role="user", content="When do I hear from you?"),),
                a=Response(text=f"By Monday. ({number})", version=versions[0]),
                b=Response(text=f"Soon. ({number})", version=versions[1]),
                drawn=drawn,
                probability=1.0,
                stratum="training",
                source="simulation",
            )
            choice: Choice = "tie" if outcome == 0.5 else "A" if (outcome == 1) != swapped else "B"
            judgments.append(JudgmentGiven(pair_id=pair_id, recruiter=f"r-{number % recruiters:016x}", choice=choice, source="simulation"))
            events += [pair, self.embedded(pair), judgments[-1]]
        self.publish(*events)
        return judgments


@dataclass
class RunningHub:
    """A hub that listens, a world that publishes to its bus, and a client for its API."""

    url: str
    hub: Hub
    world: SmallWorld
    client: httpx.Client

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()

    def wait_for(self, reached: Callable[[dict[str, Any]], bool], seconds: float = 10.0) -> dict[str, Any]:
        """Wait for a status for which ``reached`` is true; an AssertionError with the last one at the deadline."""
        return wait_until(lambda: self.get("/v1/status"), reached, seconds)


def wait_until(look: Callable[[], Found], reached: Callable[[Found], bool], seconds: float = 10.0) -> Found:
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if reached(found):
            return found
        assert time.monotonic() < deadline, f"not reached within {seconds} s: {found}"
        time.sleep(0.02)


@contextmanager
def running_hub(home: Path, port: int = 0, bus_url: str = "", **sections: Mapping[str, Any]) -> Iterator[RunningHub]:
    """A complete hub on ``home`` with these ``sections``, served by a thread on ``port``, or on a free port; by default on a SQLite log."""
    settings = Settings.read(home, environ={}).with_values({"home": home, "sources": ("product", "simulation"), "bus": bus_url}, **sections)
    address = listen("127.0.0.1", port)
    url = f"http://127.0.0.1:{address.getsockname()[1]}"
    with closing(open_bus(settings.common.bus_url)) as bus, Hub(settings) as hub, httpx.Client(base_url=url, timeout=20) as client:
        server = Server(hub)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [address]}, daemon=True)
        thread.start()
        hub.streams.start()
        try:
            wait_until(lambda: server.started and client.get("/readyz").status_code == 200, bool, 20)
            yield RunningHub(url, hub, SmallWorld(settings, bus), client)
        finally:
            server.should_exit = True
            thread.join(10)
