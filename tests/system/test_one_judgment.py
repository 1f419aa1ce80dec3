"""Checks the path of a judgment through the code, as described in docs/architecture.md, against a running system.

Serving, hub, processor and trainer run in this process on a real log, warehouse and language model, with a small encoder; training is
short and the limits of the gates are so low that every version awaits review.
"""

import inspect
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.hub import Hub
from serving.app import create_app
from storage.artifacts import Artifacts
from storage.errors import TextLost
from storage.events import DatasetFrozen, ReplySent
from storage.settings import Settings
from storage.snapshots.snapshot import open_snapshot
from storage.texts.keys import FILE, SQLiteTextKeys
from storage.texts.sealed import kid_of
from storage.texts.texts import Texts
from streams.bus.open import open_bus
from streams.processor import start_consumers
from streams.pseudonyms import pseudonym, pseudonym_key
from streams.stations.runner import Runner
from streams.stations.train import Trainer
from streams.trainer import train
from trainers.features.embedder import Embedder
from trainers.features.settings import FeatureSettings
from trainers.runs.texts import ERASED

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
STATION = re.compile(r"^\d+\. `(?P<file>[\w/]+\.py)` `(?P<function>\w+)`", re.MULTILINE)
JUDGMENTS = 24
FACTS = "Candidate: Sam\nStage: screening\nFree slots: Tuesday 10:30; Friday 9:00\nDocuments: passport and diploma\nAsked about: interview"
LOCAL = "http://127.0.0.1"  # the test client's Host
SIMULATED = {"X-FeedbackLoop-Source": "simulation"}
QUESTIONS = ("When is my interview?", "Which documents do you need?", "How is my application going?", "Can I work from home?")


def stations() -> list[tuple[str, str]]:
    return [(match["file"], match["function"]) for match in STATION.finditer((ROOT / "docs" / "architecture.md").read_text("utf-8"))]


def codes_of(file: str, function: str) -> list[CodeType]:
    """The code objects of all functions of that name in the file, including methods and nested functions."""

    def within(code: CodeType) -> Iterator[CodeType]:
        for constant in code.co_consts:
            if inspect.iscode(constant):
                if constant.co_name == function:
                    yield constant
                yield from within(constant)

    return list(within(compile((ROOT / file).read_text("utf-8"), file, "exec")))


class Trace:
    """Records which of the stations were entered, in order, in any thread."""

    def __init__(self, wanted: list[tuple[str, str]]) -> None:
        self._wanted = {(str(ROOT / file), function): (file, function) for file, function in wanted}
        self.passed: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            station = self._wanted.get((frame.f_code.co_filename, frame.f_code.co_name))
            if station is not None:
                self.passed.append(station)

    def missing_after(self, way: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The rest of ``way`` after the longest prefix that the passed stations contain in order."""
        passed = iter(list(self.passed))
        left = list(way)
        while left and any(station == left[0] for station in passed):
            left.pop(0)
        return left


@pytest.fixture
def settings(tmp_path: Path, tiny_encoder: dict[str, Path]) -> Settings:
    shares = {"margin": 1.0, "confidence": 0.51, "min_prompts": 1}
    return Settings.read(tmp_path, {}).with_values(
        {"home": tmp_path, "sources": ("simulation",)},
        features=tiny_encoder,
        retraining={"every": JUDGMENTS},
        duel={"alpha": 0.6, "min_judgments": 1, "recruiter_share": 1.0},  # two wins decide
        serving={"pairing_share": 1.0, "max_tokens": 32},
        dpo={"epochs": 1, "least_rows": 1},
        evaluation={"max_tokens": 16, "kl_prompts": 2, "names": 2, "audit_axes": ("age",), "audit_pairs": 24, "audit_pairs_max": 24},
        gates={
            "judgments": {"min_judgments": 0, "min_recruiters": 1, "within": 1e6},
            "win_rate": {"least": 0.0, "above": 0.0, "min_prompts": 1, "min_judgments": 1, "min_recruiters": 1, "least_slope": -1e9},
            "kl_budget": {"budget": 1e6, "min_prompts": 1},
            "facts": shares,
            "conduct": {"alpha": 1e-9, "min_prompts": 1},
            "length": {"within": 10.0, "min_prompts": 1},
            "refusal": shares,
            "task_success": {"wrong": 1.0, "lost": 1.0, "confidence": 0.51, "min_prompts": 1},
            "diversity": {"least": 0.0, "min_prompts": 1},
            "personal_data": shares,
            "support": {"margin": 1.0, "min_replies": 0},
            "name_contrast": {"within": 1e6, "min_names": 2},
            "counterfactual": {"change_within": 1e6, "length_change_within": 1e6, "min_pairs": 1},
        },
    )


def until(condition: Callable[[], Any], seconds: float = 180) -> Any:  # traced code is slow, on a loaded machine more so
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
    return found


def test_every_station_of_the_architecture_page_exists() -> None:
    way = stations()
    assert len(way) > 15
    assert [station for station in way if not codes_of(*station)] == []


@pytest.mark.training
def test_a_judgment_passes_the_stations_in_the_order_of_the_architecture_page(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(settings.common.home / "user-cache"))
    way = stations()
    trace = Trace(way)
    stop = threading.Event()
    threading.setprofile(trace)
    sys.setprofile(trace)
    try:
        with closing(open_bus(settings.common.bus_url)) as bus, Hub(settings) as hub:
            runner = Runner(stop)
            hub.streams.start()
            start_consumers(runner, bus, settings, Embedder.load(settings.section("features", FeatureSettings)), Texts.of(settings), stop)
            runner.start("trainer", lambda: Trainer(bus, settings.common.home, "trainer-1", partial(train, settings), stop))
            try:
                with TestClient(hub.app, LOCAL) as pages, TestClient(create_app(settings, bus=bus), LOCAL) as chat:
                    walk(chat, pages, trace, hub)
                    until(lambda: not list((settings.common.home / "runs").iterdir()))
                    a_candidate_is_erased_on_whom_the_champion_was_trained(settings, pages, hub)
            finally:
                stop.set()
                runner.join(10)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert trace.missing_after(way) == []
    home = settings.common.home
    assert list(holding(b"I am number ", home)) == []
    assert list((home / "reference-log-probabilities").iterdir())
    assert not list((home / "user-cache").rglob("reference-log-probabilities"))


def a_candidate_is_erased_on_whom_the_champion_was_trained(settings: Settings, pages: TestClient, hub: Hub) -> None:
    home, texts = settings.common.home, Texts.of(settings)
    name = pseudonym(pseudonym_key(settings.common), "candidate", "candidate 0")
    replies = [each for each in hub.warehouse.events(ReplySent) if isinstance(each, ReplySent)]
    (reply,) = [each for each in replies if each.candidate == name]
    (other, *_) = [each for each in replies if each.candidate != name]
    assert "I am number 0." in texts.event(reply).model_dump_json()
    store = SQLiteTextKeys(home / FILE)
    key = store.get(kid_of(reply.reply))
    assert key is not None
    assert [path.name for path in holding(key.secret, home)] == [FILE]
    champion = pages.get("/v1/status").json()["champion"]["version"]
    report = f"/v1/versions/{champion}/report"
    assert "I am number " in pages.get(report).text
    (frozen,) = [each for each in hub.warehouse.events(DatasetFrozen) if isinstance(each, DatasetFrozen)]
    prompts = open_snapshot(Artifacts(settings.common.artifacts_url).get(frozen.snapshot)).stored("prompts")["conversation_id"].to_pylist()
    quoted = texts.event(next(each for each in replies if each.conversation_id in prompts and each.candidate != name))
    quoted_number = re.search(r"I am number (\d+)", quoted.model_dump_json())
    assert quoted_number is not None

    erased = pages.post("/v1/erasures", json={"what": "candidate", "name": "candidate 0"}).json()
    assert "error" not in erased, erased
    assert (erased["done"], erased["plain"], [each["version"] for each in erased["versions"]]) == (True, 0, [champion])
    assert list(holding(key.secret, home)) == []
    with pytest.raises(TextLost):
        Texts.of(settings).event(reply)
    assert "I am number " in Texts.of(settings).event(other).model_dump_json()
    assert pages.post("/v1/erasures", json={"what": "candidate", "name": f"candidate {quoted_number[1]}"}).json()["done"]
    assert "I am number " not in pages.get(report).text, "the run was evaluated on the candidate's words"
    assert {each["challenger"] for each in pages.get(report).json()["replies"]} == {ERASED}
    assert pages.get("/v1/status").json()["champion"]["version"] == champion
    found = pages.get("/v1/verify", params={"deep": True}).json()
    assert found["ok"], found


def holding(text: bytes, folder: Path) -> Iterator[Path]:
    """The files below the folder that hold the text."""
    return (path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes())


@pytest.mark.training
def test_a_run_by_ppo_that_the_trigger_started_reaches_the_reviewer(settings: Settings) -> None:
    settings = settings.with_values(
        retraining={"every": JUDGMENTS, "method": "ppo"},
        ppo={
            "rewards": {"length": 1.0, "facts": 1.0}, "steps": 3, "batch": 8, "minibatch": 8, "epochs": 1, "max_tokens": 32,
            "least_prompts": 1, "governor_every": 1, "critic_warmup": 1,
        },
    )  # fmt: skip
    stop = threading.Event()
    with closing(open_bus(settings.common.bus_url)) as bus, Hub(settings) as hub:
        runner = Runner(stop)
        hub.streams.start()
        start_consumers(runner, bus, settings, Embedder.load(settings.section("features", FeatureSettings)), Texts.of(settings), stop)
        runner.start("trainer", lambda: Trainer(bus, settings.common.home, "trainer-1", partial(train, settings), stop))
        try:
            with TestClient(hub.app, LOCAL) as pages, TestClient(create_app(settings, bus=bus), LOCAL) as chat:
                judged_until_a_run_is_evaluated(chat, pages, Trace([]))
                (evaluated,) = pages.get("/v1/versions").json()["versions"]
                report = pages.get(f"/v1/versions/{evaluated['version']}/report").json()
        finally:
            stop.set()
            runner.join(10)
    assert evaluated["verdict"] == "passed", [gate["words"] for gate in evaluated["gates"] if gate["verdict"] != "passed"]
    assert report["settings"]["ppo"]["steps"] == 3
    the_printed_command_repeats_the_training(settings, evaluated)
    assert [point["step"] for point in report["training"]["curve"]] in ([], [0, 1, 2, 3])


def the_printed_command_repeats_the_training(settings: Settings, evaluated: dict[str, Any]) -> None:
    environment = {**os.environ, "FEEDBACKLOOP_HOME": str(settings.common.home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(*command: str) -> str:
        line = [sys.executable, "-m", "deploy.cli", *command]
        done = subprocess.run(line, cwd=settings.common.home, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    shown = run("runs", "show", evaluated["run_id"][:8])
    (command,) = [line.removeprefix("repeat").strip() for line in shown.splitlines() if line.startswith("repeat")]
    words = shlex.split(command)
    assert words[0] == "feedbackloop"
    run(*words[1:])
    again = Artifacts(str(settings.common.home / "scratch")).put(settings.common.home / words[-1] / "policy")
    assert f"policy       {again}" in shown


def walk(chat: TestClient, pages: TestClient, trace: Trace, hub: Hub) -> None:
    """Chat, judge until the threshold is crossed, approve, prefer the new version in its duel, and wait until it serves."""
    judged = judged_until_a_run_is_evaluated(chat, pages, trace)
    (evaluated,) = pages.get("/v1/versions").json()["versions"]
    assert evaluated["verdict"] == "passed", [gate["words"] for gate in evaluated["gates"] if gate["verdict"] != "passed"]
    version = evaluated["version"]
    decision = {"decision": "approve", "reviewer": "a reviewer", "reason": "It reads well."}
    assert pages.post(f"/v1/versions/{version}/review", json=decision, headers=SIMULATED).status_code == 202
    deadline = time.monotonic() + 90
    while chat.get("/v1/models").json()["data"][0]["id"] != version:
        assert time.monotonic() < deadline, "the duel was not decided in time"
        judged += 1
        body = {"model": "champion", "messages": [{"role": "user", "content": f"{QUESTIONS[judged % 4]} I am number {judged}."}]}
        assert chat.post("/v1/chat/completions", json=body, headers=SIMULATED).status_code == 200
        for pair in pages.get("/v1/queue", params={"recruiter": "one", "limit": 5}).json()["pairs"]:
            (drawn,) = hub.warehouse.query("pair", {"pair_id": pair["pair_id"]}).to_pylist()
            said = {
                "type": "comparison",
                "pair_id": pair["pair_id"],
                "recruiter": "one",
                "choice": "A" if drawn["a_version"] == version else "B",
            }
            assert chat.post("/v1/feedback", json=said, headers=SIMULATED).status_code == 200


def judged_until_a_run_is_evaluated(chat: TestClient, pages: TestClient, trace: Trace) -> int:
    """Chat and judge until the threshold is crossed, and wait for the version; returns the number of judgments."""
    until(lambda: chat.get("/readyz").status_code == 200)
    judged = 0
    while counted(pages)["judgments_seen"] < JUDGMENTS:
        asked = [{"role": "system", "content": FACTS}, {"role": "user", "content": f"{QUESTIONS[judged % 4]} I am number {judged}."}]
        body = {"model": "champion", "messages": asked, "user": f"candidate {judged}"}
        assert chat.post("/v1/chat/completions", json=body, headers=SIMULATED).status_code == 200
        pairs = until(lambda: pages.get("/v1/queue", params={"recruiter": "one", "limit": 1}).json()["pairs"])
        if counted(pages)["judgments_seen"] == JUDGMENTS - 1:
            trace.passed.clear()  # trace the next judgment, which crosses the threshold if it is in the training stratum
        said = {"type": "comparison", "pair_id": pairs[0]["pair_id"], "recruiter": "one", "choice": "AB"[judged % 2], "strength": 2}
        assert chat.post("/v1/feedback", json=said, headers=SIMULATED).status_code == 200
        judged += 1
        station = "learnt" if pairs[0]["stratum"] == "training" else "preferences"
        until(partial(reached, pages, station, judged))
    until(lambda: pages.get("/v1/versions").json()["versions"])
    return judged


def reached(pages: TestClient, station: str, number: int) -> bool:
    return counted(pages)[station] >= number


def counted(pages: TestClient) -> dict[str, int]:
    counts: dict[str, int] = pages.get("/v1/status").json()["counts"]
    return counts
