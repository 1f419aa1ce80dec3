"""Runs the whole loop on this machine with simulated people, until a reviewer's decision is due and beyond.

The people are a separate program that speaks HTTP like any client; nothing here knows their taste. The summary's figures are computed from
the log (when each event was accepted) and from the dashboard's live feed.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from access.settings import AccessSettings
from deploy.cli.latency import Latencies, LiveFeed, judgment_to_dashboard, judgment_to_reward
from deploy.demo_plans import DemoPlan, plan_for
from deploy.demo_start import starting_model
from deploy.own_processes import client, is_ready
from deploy.people import People
from deploy.supervisor import Supervisor
from storage.errors import ConfigurationError, FeedbackLoopError
from storage.events import (
    DatasetFrozen,
    DuelDecided,
    Event,
    ModelEvaluated,
    ModelPromoted,
    TrainingFailed,
    TrainingProgress,
    TrainingRequested,
)
from storage.settings import Settings
from streams.addresses import url_of
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.open import bus_of
from streams.bus.protocol import Bus, Partition
from streams.bus.quarantine import decoded
from streams.bus.topics import FROZEN, PROGRESS, REQUESTED, TOPICS, VERSIONS
from trainers.models.references import fetch_model

Until = Literal["review", "promoted"]

DUEL_TIMEOUT = 600  # seconds


@dataclass(frozen=True)
class Demo:
    """Options of the demo; ``model`` None for the configured one."""

    model: str | None = None
    until: Until | None = None
    seed: int = 0
    controls: frozenset[str] = frozenset()  # of "null", "null-panel", "plant", "drift"; see the command's options
    bus: Literal["sqlite", "kafka"] = "sqlite"

    @property
    def is_control(self) -> bool:
        """Whether recruiters are such that the version is not expected to pass."""
        return bool(self.controls & {"null", "null-panel", "plant"})


@dataclass
class Clock:
    """Seconds since the start, at each milestone."""

    started: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    def reached(self, milestone: str) -> None:
        self.seconds.setdefault(milestone, round(time.monotonic() - self.started, 1))


def demo_settings(settings: Settings, plan: DemoPlan) -> Settings:
    """The user's settings, changed for the demo: a new home, simulated judgments as training source, what the plan sets."""
    if settings.section("access", AccessSettings).required:
        raise ConfigurationError(
            "the demo's simulated people have no API keys: run it in another folder, or with FEEDBACKLOOP_ACCESS__MODE=open"
        )
    home = settings.common.home / "demo" / time.strftime("%Y%m%d-%H%M%S")
    return plan.applied(settings).with_values({"home": home})


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as environment variables for a child process."""
    common = settings.common
    values: dict[str, Any] = {"HOME": str(common.home), "BUS": common.bus, "ARTIFACTS": common.artifacts, "MODEL": common.model}
    values["PSEUDONYM_KEY"] = common.pseudonym_key.get_secret_value()
    variables = {f"FEEDBACKLOOP_{k}": v for k, v in values.items() if v} | {"FEEDBACKLOOP_SOURCES": json.dumps(common.sources)}
    for section, keys in settings.sections.items():
        for key, value in keys.items():
            variables[f"FEEDBACKLOOP_{section}__{key}".upper()] = value if isinstance(value, str) else json.dumps(value)
    return variables


def run(demo: Demo, settings: Settings, report: Callable[[str], None], on_summary: Callable[[dict[str, Any]], None]) -> None:
    """Run the loop until ``demo.until`` is reached, and pass the summary to ``on_summary``.

    Without ``demo.until`` the loop stays up after the summary until it is interrupted.
    """
    if demo.model is not None:
        settings = settings.with_values({"model": demo.model})
    plan, models = plan_for(settings), settings.common.home / "demo" / "models"
    if plan.notice:
        report(plan.notice)
    fetch_model(settings.common.model, report)
    settings = demo_settings(settings, plan)
    model = starting_model(plan, demo.seed, models, environment_of(settings), report) if plan.demonstrations else settings.common.model
    settings, clock = settings.with_values({"model": model}), Clock()
    with _kafka(settings, report) if demo.bus == "kafka" else contextlib.nullcontext(settings) as settings:
        _run(demo, plan, settings, clock, report, on_summary)


@contextlib.contextmanager
def _kafka(settings: Settings, report: Callable[[str], None]) -> Iterator[Settings]:
    """Start a broker with its topics; yield the settings that use it."""
    from deploy.broker import Broker
    from streams.bus.kafka_topics import create_topics

    report("starting a Kafka broker")
    with Broker(settings.common.home / "kafka") as broker:
        create_topics(broker.servers, KafkaSettings())
        yield settings.with_values({"bus": broker.url}, kafka={"security": "PLAINTEXT"})  # overrides the settings of the user's own broker


def _run(
    demo: Demo,
    plan: DemoPlan,
    settings: Settings,
    clock: Clock,
    report: Callable[[str], None],
    on_summary: Callable[[dict[str, Any]], None],
) -> None:
    serving, hub = url_of(settings, "serving"), url_of(settings, "hub")
    with (
        Supervisor(settings, environment_of(settings), report) as supervisor,
        People(settings, seed=demo.seed, controls=demo.controls) as people,
    ):
        report(f"starting in {settings.common.home}")
        report(f"dashboard: {hub}")
        _first_chat(supervisor, serving, demo)
        clock.reached("first_chat")
        report(f"first chat answered after {clock.seconds['first_chat']:.0f} s")
        supervisor.wait_ready(("hub", "serving", "processor", "trainer"), 120)
        clock.reached("all_ready")
        people.start(pace=plan.pace)
        with contextlib.closing(bus_of(settings)) as bus, LiveFeed(hub) as feed:
            evaluated = _until_evaluated(plan, supervisor, people, bus, feed, clock, report)
            summary = _summary(bus, evaluated, hub, clock, feed.seen) | {"may_pass": plan.may_pass and not demo.is_control}
            if demo.until == "promoted":
                summary["promoted"] = _until_promoted(evaluated, people, supervisor, bus, serving, clock, report)
        on_summary(summary)
        if demo.until is None:
            report(f"the loop stays up: open {hub}, rate, review; Ctrl-C stops everything")
            people.start(pace="calm")
            while True:
                supervisor.check()
                time.sleep(0.5)


def _first_chat(supervisor: Supervisor, serving: str, demo: Demo) -> None:
    deadline = time.monotonic() + 120
    while not is_ready(serving):
        supervisor.check()
        if time.monotonic() > deadline:
            raise FeedbackLoopError(f"serving is not ready after 120 s; see {supervisor.home / 'logs'}")
        time.sleep(0.05)
    _chat(serving, f"demo-first-{demo.seed}")


def _chat(serving: str, conversation: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hello, could you tell me where my application stands?"}]
    body = {"model": "champion", "messages": messages, "metadata": {"conversation_id": conversation}}
    answer = client().post(f"{serving}/v1/chat/completions", json=body, headers={"X-FeedbackLoop-Source": "simulation"}, timeout=60)
    answer.raise_for_status()
    reply: dict[str, Any] = answer.json()
    return reply


def _until_evaluated(
    plan: DemoPlan, supervisor: Supervisor, people: "People", bus: Bus, feed: "LiveFeed", clock: Clock, report: Callable[[str], None]
) -> ModelEvaluated:
    deadline = time.monotonic() + plan.give_up_after
    reported_at, progress = 0.0, None
    for event in _follow(bus, (REQUESTED.name, FROZEN.name, PROGRESS.name, VERSIONS.name)):
        supervisor.check()
        if time.monotonic() > deadline:
            raise FeedbackLoopError(f"no model was evaluated within {plan.give_up_after:.0f} s; see {supervisor.home / 'logs'}")
        if isinstance(event, TrainingRequested):
            clock.reached("training_requested")
            report(f"threshold reached after {clock.seconds['training_requested']:.0f} s: a run is requested")
        elif isinstance(event, DatasetFrozen):
            clock.reached("frozen")
            report("its data is frozen: training starts, the people pause")
            people.stop()
        elif isinstance(event, TrainingProgress):
            clock.reached(f"stage_{event.stage}")
            progress = event
        elif isinstance(event, TrainingFailed) and event.final:
            raise FeedbackLoopError(f"the run failed in stage {event.stage}: {event.reason}")
        elif isinstance(event, ModelEvaluated):
            clock.reached("review_due")
            return event
        if event is None or isinstance(event, TrainingProgress):
            people.check()
            if time.monotonic() - reported_at > 5:
                reported_at = time.monotonic()
                report(_progress_line(feed.latest, progress))
    raise AssertionError("the log does not end")


def _follow(bus: Bus, topics: tuple[str, ...]) -> Iterator[Event | None]:
    """Every event of the topics from the start; ``None`` whenever none has arrived for half a second."""
    after = {Partition(topic, 0): -1 for topic in topics}
    while True:
        entries = bus.read(after, limit=1000, wait=0.5)
        batch = decoded(entries, "demo")
        after.update(batch.upto)
        yield from (event for _, event in batch.events)
        if not entries:
            yield None


def _progress_line(status: dict[str, Any], progress: TrainingProgress | None) -> str:
    if progress is not None:
        return f"  training: {progress.stage}, {progress.step} of {progress.steps}"
    counts, threshold = status.get("counts", {}), status.get("threshold", {})
    return (
        f"  {counts.get('replies', 0)} replies · {counts.get('pairs', 0)} pairs · {counts.get('judgments', 0)} judgments · "
        f"next training at {threshold.get('since', 0)} of {threshold.get('every', '?')}"
    )


def _until_promoted(
    evaluated: ModelEvaluated,
    people: "People",
    supervisor: Supervisor,
    bus: Bus,
    serving: str,
    clock: Clock,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Let the simulated reviewer approve the version and recruiters judge its duel, and chat with it once it serves."""
    if evaluated.verdict != "passed":
        return {"version": None, "why": f"the gates said {evaluated.verdict}; there is nothing to approve"}
    people.review(evaluated.version)
    clock.reached("approved")
    report(f"{evaluated.version} is approved: its duel with the champion begins")
    people.start(pace="duel")
    deadline = time.monotonic() + DUEL_TIMEOUT
    for event in _follow(bus, (VERSIONS.name,)):
        supervisor.check()
        people.check()
        if isinstance(event, DuelDecided) and event.version == evaluated.version:
            report(f"the duel is decided: {event.words}")
            if event.outcome != "better":
                people.stop()
                return {"version": None, "why": event.words}
        if isinstance(event, ModelPromoted) and event.version == evaluated.version:
            break
        if time.monotonic() > deadline:
            raise FeedbackLoopError(f"the duel of {evaluated.version} was not decided in {DUEL_TIMEOUT} s; see {supervisor.home / 'logs'}")
    people.stop()
    deadline = time.monotonic() + 60
    clock.reached("promoted")
    while (reply := _chat(serving, f"demo-promoted-{time.monotonic_ns()}"))["model"] != evaluated.version:
        if time.monotonic() > deadline:
            raise FeedbackLoopError(f"{evaluated.version} is champion and does not answer within 60 s; see {supervisor.home / 'logs'}")
        time.sleep(0.1)
    clock.reached("new_model_answers")
    text = reply["choices"][0]["message"]["content"]
    report(f"{evaluated.version} is the champion and answers the next chat: {text!r}")
    return {"version": evaluated.version, "reply": text}


def _summary(bus: Bus, evaluated: ModelEvaluated, hub: str, clock: Clock, seen: list[tuple[datetime, datetime]]) -> dict[str, Any]:
    counts = {topic: sum(tail for _, tail in bus.bounds([topic]).values()) for topic in TOPICS}
    gates = {gate.name: gate for gate in evaluated.gates}
    win_rate = gates.get("win_rate")
    return {
        "replies": counts["chat.replies"],
        "pairs": counts["feedback.pairs"],
        "judgments": counts["feedback.judgments"],
        "reward_updates": counts["models.reward.updated"],
        "runs": counts["training.requested"],
        "quarantined": counts["feedback.quarantine"],
        "version": evaluated.version,
        "verdict": evaluated.verdict,
        "dashboard": hub,
        "seconds": dict(clock.seconds),
        "latency_ms": _latencies(bus, seen),
        "win_rate": {"value": win_rate.figure, "low": win_rate.low, "high": win_rate.high} if win_rate else None,
        "gates": {gate.name: gate.verdict for gate in evaluated.gates},
        "gates_in_words": {gate.name: gate.words for gate in evaluated.gates},
    }


def _latencies(bus: Bus, seen: list[tuple[datetime, datetime]]) -> dict[str, float | None]:
    reward: Latencies = judgment_to_reward(bus)
    dashboard: Latencies = judgment_to_dashboard(bus, seen)
    return {
        "judgment_to_reward_p50": reward.percentile(50),
        "judgment_to_reward_p99": reward.percentile(99),
        "judgment_to_dashboard_p50": dashboard.percentile(50),
        "judgment_to_dashboard_p99": dashboard.percentile(99),
    }
