"""Fixtures: a language model of a few thousand parameters, and servers on 127.0.0.1 that tests call over HTTP."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import httpx
import openai
import pytest
import uvicorn
from fastapi import FastAPI
from openai import Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from serving.app import create_app
from storage.events import Event
from storage.events.wire import decode
from storage.settings import Settings
from storage.texts.texts import Texts
from streams.bus.open import open_bus
from streams.bus.protocol import Bus, Logged, Partition
from streams.health import listen
from streams.http.server import server_config

WORDS = [
    "the", "a", "is", "on", "at", "to", "for", "your", "our", "we", "you", "interview", "role", "offer", "team", "friday", "monday", "noon",
    "ten", "office", "call", "please", "confirm", "thanks", "yes", "no", "maybe", "soon", "next", "step", "document", "contract", "manager",
    "engineer", "nurse", "driver", ".", ",", "?", "!",
]  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}<|im_start|> {{ m['role'] }} {{ m['content'] }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)
DEADLINE = 20.0


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Llama with random weights and a word-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|unk|>"]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*special, "system", "user", "assistant", *WORDS])}, "<|unk|>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        unk_token="<|unk|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny-model")
    model: LlamaForCausalLM = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter for ``tiny_model`` that changes its replies."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        LoraConfig(
            r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
        ),
    )
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(str(folder))
    return folder


@dataclass
class Server:
    """A server running in a thread, and the bus it publishes to."""

    url: str
    bus: Bus
    settings: Settings

    def openai(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="not needed", max_retries=0, timeout=DEADLINE, **options)

    def ask(self, **asked: Any) -> ChatCompletion | Stream[ChatCompletionChunk]:
        answer = self.openai().chat.completions.create(**asked)
        assert isinstance(answer, ChatCompletion | Stream)
        return answer

    def whole(self, **asked: Any) -> ChatCompletion:
        """A completion without streaming."""
        answer = self.ask(**asked)
        assert isinstance(answer, ChatCompletion)
        return answer

    def streamed(self, **asked: Any) -> list[ChatCompletionChunk]:
        """The chunks of a streamed completion."""
        answer = self.ask(**asked, stream=True)
        assert isinstance(answer, Stream)
        return list(answer)

    def events(self, *topics: str) -> list[Event]:
        """All events on the topics, in log order."""
        after = dict.fromkeys(self.bus.bounds(topics), -1)
        return [self.opened(entry) for entry in self.bus.read(after, limit=100_000, wait=0)]

    def opened(self, entry: Logged) -> Event:
        """The event of the entry, with its texts opened."""
        return self.texts.event(decode(entry.value))

    @cached_property
    def texts(self) -> Texts:
        return Texts.of(self.settings)

    def sizes(self) -> dict[Partition, int]:
        from streams.bus.topics import TOPICS

        return {partition: end for partition, (_, end) in self.bus.bounds(list(TOPICS)).items()}

    def wait_for(self, topic: str, wanted: Callable[[Event], bool]) -> Event:
        """Wait for the first event on ``topic`` that matches ``wanted``."""
        after = dict.fromkeys(self.bus.bounds([topic]), -1)
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            for entry in self.bus.read(after, limit=1000, wait=1.0):
                after[entry.partition] = entry.offset
                if wanted(event := self.opened(entry)):
                    return event
        raise AssertionError(f"no matching event on {topic} within {DEADLINE} s")


class Start(Protocol):
    """``run_serving`` as a fixture."""

    def __call__(self, settings: Settings, bus: Bus | None = None) -> AbstractContextManager[Server]: ...


StartApp = Callable[[FastAPI], AbstractContextManager[str]]


class WaitUntil(Protocol):
    """``until`` as a fixture."""

    def __call__(self, holds: Callable[[], object], seconds: float = ...) -> None: ...


def ids_of(answer: ChatCompletion | ChatCompletionChunk) -> dict[str, str]:
    """The ids of reply, pair and conversation in the extension field ``feedbackloop``."""
    assert answer.model_extra is not None
    ids = answer.model_extra["feedbackloop"]
    assert isinstance(ids, dict)
    return ids


@contextmanager
def run_app(app: FastAPI) -> Iterator[str]:
    """Run the app on a free loopback port; yields its URL."""
    socket = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(app, timeout_graceful_shutdown=3))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        socket.close()


@contextmanager
def run_serving(settings: Settings, bus: Bus | None = None) -> Iterator[Server]:
    """Run the serving app and wait until it is ready."""
    with run_app(create_app(settings, bus=bus)) as url:
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200, 200)
        reader = open_bus(settings.common.bus_url)
        try:
            yield Server(url, reader, settings)
        finally:
            reader.close()


def until(holds: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Poll until ``holds()`` is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "condition not met in time"
        threading.Event().wait(0.05)


@pytest.fixture(scope="session")
def start() -> Start:
    return run_serving


@pytest.fixture(scope="session")
def start_app() -> StartApp:
    return run_app


@pytest.fixture(scope="session")
def wait_until() -> WaitUntil:
    return until


@pytest.fixture
def settings(tmp_path: Path, tiny_model: Path) -> Settings:
    return Settings.read(tmp_path, environ={}).with_values({"home": tmp_path / "home", "model": str(tiny_model)})


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Server]:
    """One server with the tiny model, shared by tests that do not change its state."""
    with run_serving(_shared(tmp_path_factory.mktemp("serving"), tiny_model)) as running:
        yield running


@pytest.fixture(scope="session")
def unpaired(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Server]:
    """One that draws no second responses, for tests that count events: those to chats of earlier tests land at any time."""
    with run_serving(_shared(tmp_path_factory.mktemp("unpaired"), tiny_model, pairing_share=0.0)) as running:
        yield running


def _shared(folder: Path, model: Path, **serving: float) -> Settings:
    return Settings.read(folder, environ={}).with_values(
        {"home": folder / "home", "model": str(model)},
        serving={"max_tokens": 24, **serving},
        safety={"conduct": "flag", "insults": "flag"},  # record only, so that a stream is not held back by sentences
    )
