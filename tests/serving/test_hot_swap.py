"""A promoted version takes over under load, without a request that fails."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from openai import Stream
from openai.types.chat import ChatCompletion

from storage.artifacts import Artifacts
from storage.events import Event, Message, ModelPromoted, ModelRolledBack, ReviewDecided, Sampling
from storage.settings import Settings
from streams.bus.protocol import records_of
from tests.serving.conftest import Server, Start, WaitUntil
from tests.streams.examples import evaluated as of_policy
from tests.streams.examples import gate, of_its_run

pytestmark = pytest.mark.training

ASKED = [{"role": "user", "content": "when is the interview ?"}]


def publish(server: Server, *events: Event) -> None:
    server.bus.publish(records_of(events), timeout=5)


def evaluated(policy: str, settings: Settings) -> tuple[Event, ...]:
    """The policy's evaluation, preceded by the events of its run; the report is stored."""
    event = of_policy("", policy=policy, version=f"v-{policy[:12]}", run_id=uuid4())
    return of_its_run(event, Artifacts(settings.common.artifacts_url))


def promotion(version: str) -> tuple[ReviewDecided, ModelPromoted]:
    review = ReviewDecided(source="product", version=version, decision="approve", reviewer="Ada", reason="better")
    return review, ModelPromoted(source="product", version=version, review=review.event_id)


def spoken(model: Path, adapter: Path | None) -> str:
    from trainers.models.engine import generate
    from trainers.models.policy import load_policy

    prompt = [Message(role="user", content=ASKED[0]["content"])]
    [text] = generate(load_policy(str(model), adapter), [prompt], Sampling(temperature=0, max_tokens=24), seed=0)
    return text


def test_a_promotion_and_a_rollback_under_load_drop_no_request(
    start: Start, settings: Settings, tiny_model: Path, adapter: Path, wait_until: WaitUntil
) -> None:
    expected = {"base": spoken(tiny_model, None)}
    policy = Artifacts(settings.common.artifacts_url).put(adapter)
    version = f"v-{policy[:12]}"
    expected[version] = spoken(tiny_model, adapter)
    assert len(set(expected.values())) == 2

    with start(settings.with_values(serving={"pairing_share": 0.2})) as server:
        stop = threading.Event()
        answers: list[tuple[str, str | None]] = []

        def candidate(streamed: bool) -> None:
            client = server.openai()
            while not stop.is_set():
                asked: dict[str, Any] = {"model": "champion", "messages": ASKED, "temperature": 0, "max_tokens": 24}
                if streamed:
                    stream = client.chat.completions.create(**asked, stream=True)
                    assert isinstance(stream, Stream)
                    chunks = list(stream)
                    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
                    answers.append((chunks[-1].model, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)))
                else:
                    answer = client.chat.completions.create(**asked)
                    assert isinstance(answer, ChatCompletion)
                    answers.append((answer.model, answer.choices[0].message.content))

        def serving(name: str) -> bool:
            return [model for model, _ in answers[-12:]] == [name] * 12

        with ThreadPoolExecutor(12) as crowd:
            candidates = [crowd.submit(candidate, i % 2 == 0) for i in range(12)]
            try:
                wait_until(lambda: serving("base"))
                publish(server, *evaluated(policy, settings), *promotion(version))
                wait_until(lambda: serving(version))
                publish(server, ModelRolledBack(source="product", version=version, reviewer="Ada", reason="worse"))
                wait_until(lambda: serving("base"))
            finally:
                stop.set()
        for done in candidates:
            done.result()
        # what each version says is what it says alone, also at the moment of the change
        assert {text for name, text in answers if name == "base"} == {expected["base"]}
        assert {text for name, text in answers if name == version} == {expected[version]}
        assert len(server.events("chat.replies")) == len(answers)


def test_a_server_that_starts_later_serves_the_champion_and_names_it(
    start: Start, settings: Settings, tiny_model: Path, adapter: Path
) -> None:
    policy = Artifacts(settings.common.artifacts_url).put(adapter)
    version = f"v-{policy[:12]}"
    with start(settings) as server:
        publish(server, *evaluated(policy, settings), *promotion(version))
    with start(settings) as server:
        client = server.openai()
        assert client.models.list().data[0].id == version
        answer = server.whole(model=version, messages=ASKED, temperature=0, max_tokens=24)
        assert (answer.model, answer.choices[0].message.content) == (version, spoken(tiny_model, adapter))


def test_a_version_that_no_reviewer_approved_never_serves(
    start: Start, settings: Settings, adapter: Path, tmp_path: Path, wait_until: WaitUntil
) -> None:
    store = Artifacts(settings.common.artifacts_url)
    refused = store.put(adapter)
    shutil.copytree(adapter, tmp_path / "other")
    (tmp_path / "other" / "NOTE").write_text("the same weights under another hash")
    allowed = store.put(tmp_path / "other")
    with start(settings) as server:
        _, unreviewed = promotion(f"v-{refused[:12]}")
        publish(server, *evaluated(refused, settings), unreviewed, *evaluated(allowed, settings))
        models = server.openai().models
        seen = {models.list().data[0].id}
        publish(server, *promotion(f"v-{allowed[:12]}"))

        def allowed_serves() -> bool:
            seen.add(models.list().data[0].id)
            return f"v-{allowed[:12]}" in seen

        wait_until(allowed_serves)
        assert seen == {"base", f"v-{allowed[:12]}"}


def test_a_champion_whose_policy_is_missing_leaves_the_previous_one_serving(
    start: Start, settings: Settings, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    policy = "ab" * 32
    with start(settings) as server:
        publish(server, *evaluated(policy, settings), *promotion(f"v-{policy[:12]}"))
        wait_until(lambda: "its policy is missing" in caplog.text)
        answer = server.whole(model="champion", messages=ASKED, max_tokens=2)
        assert answer.model == "base"


def test_a_corrupt_champion_falls_back_to_the_previous_one_and_serves_again_once_repaired(
    start: Start, settings: Settings, adapter: Path, tmp_path: Path, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.promotion.RETRY_INTERVAL", 0.1)
    store = Artifacts(settings.common.artifacts_url)
    first = store.put(adapter)
    shutil.copytree(adapter, tmp_path / "other")
    (tmp_path / "other" / "NOTE").write_text("the same weights under another hash")
    second = store.put(tmp_path / "other")
    weights = store.get(second) / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    against_first = of_policy("", policy=second, version=f"v-{second[:12]}", run_id=uuid4(), champion=f"v-{first[:12]}")
    with start(settings) as server:
        publish(server, *evaluated(first, settings), *promotion(f"v-{first[:12]}"))
        publish(server, *of_its_run(against_first, store, judged_against=first), *promotion(f"v-{second[:12]}"))
        models = server.openai().models
        wait_until(lambda: models.list().data[0].id == f"v-{first[:12]}")
        weights.write_bytes(whole)
        wait_until(lambda: models.list().data[0].id == f"v-{second[:12]}")


def test_a_forged_evaluation_never_serves_though_it_was_approved_and_its_adapter_is_there(
    start: Start, settings: Settings, adapter: Path, tmp_path: Path, wait_until: WaitUntil
) -> None:
    store = Artifacts(settings.common.artifacts_url)
    honest = store.put(adapter)
    shutil.copytree(adapter, tmp_path / "other")
    (tmp_path / "other" / "NOTE").write_text("an adapter that nobody trained here")
    random = store.put(tmp_path / "other")
    forged = of_policy("", policy=random, version=f"v-{random[:12]}", run_id=uuid4()).model_copy(
        update={"gates": (gate("passed", "x"),), "report": store.put_bytes(b'{"forged": true}')}
    )
    with start(settings) as server:
        publish(server, forged, *promotion(forged.version))
        publish(server, *evaluated(honest, settings), *promotion(f"v-{honest[:12]}"))  # published later, so read later
        models = server.openai().models
        seen: set[str] = set()

        def honest_serves() -> bool:
            seen.add(models.list().data[0].id)
            return f"v-{honest[:12]}" in seen

        wait_until(honest_serves)
        assert forged.version not in seen
