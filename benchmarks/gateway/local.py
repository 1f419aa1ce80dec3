"""Replies of the shipped model: tokens a second at eight concurrent chats, and the time to the first one. Greedy, on one thread.

Ours is the serving process over HTTP, streamed and not, with its log, but without second responses and without safety filters of replies,
since no peer has either. With filters, as by default, a candidate gets a reply sentence by sentence, each once it has been checked; the
time to the first one is reported as ``local_ours_filtered_first_token_ms``.

Peers are ``model.generate``, one request after the other in one process without a server, and ``transformers serve`` without and with
its continuous batching, which works on a CPU; the better of both is the one compared with. It streams, so first tokens are compared with
its own. Tokens are counted by the tokenizer in the texts, on all sides alike. Every round asks all sides, one after the other.

Whether to use transformers' continuous batching (``generate_batch``) in place of our engine is decided by ``local_engine_ratio``: both
without a server, on the same prompts. On two shared cores it made 103 tokens/s where ours made 415 and ``generate`` 115: its paged
attention gains nothing on a CPU. So the engine stays.
"""

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.gateway.chats import ask_all, messages, seconds_of
from benchmarks.gateway.rounds import over_rounds
from benchmarks.gateway.servers import HOST, server
from benchmarks.policy.paired import speed_ratio
from benchmarks.processes import Process, on_log
from storage.events import Message
from trainers.models.references import resolve_model

CHATS = 8  # at once
TOKENS = 64  # of a reply at most
NO_FILTERS = {"conduct": "off", "insults": "off"}
CONTINUOUS = ("--continuous-batching", "--cb-num-blocks", "256", "--cb-max-batch-tokens", "2048")


def figures(quick: bool) -> Iterator[Figure]:
    """The row ``local``."""
    import torch

    from benchmarks.gateway.engines import by_continuous_batching, by_our_engine, one_by_one
    from trainers.models.policy import load_policy

    torch.set_num_threads(1)
    rounds, asked = (2, 16) if quick else (10, 64)
    model = str(resolve_model("shipped"))
    policy, batched = load_policy("shipped"), load_policy("shipped")
    seconds: dict[str, list[float]] = defaultdict(list)  # a token
    first: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        sides = {}
        for side, safety in (("ours", NO_FILTERS), ("ours_filtered", {})):
            settings = on_log(folder / side).with_values(serving={"pairing_share": 0.0}, safety=safety)
            sides[side] = running.enter_context(Process("serving", settings)).url, "champion"
        for side, options in (("serve", ()), ("serve_continuous", CONTINUOUS)):
            command = [str(Path(sys.executable).parent / "transformers"), "serve", model, "--device", "cpu", "--host", HOST]
            peer = running.enter_context(server([*command, "--port", "{port}", *options], folder / f"{side}.log", ready="/health"))
            sides[side] = peer.url, model
        for url, named in sides.values():  # warm-up
            ask_all(url, named, range(-CHATS, 0), tokens=8, streamed=False, at_once=CHATS)
        for number in range(rounds):
            numbers = range(number * asked, (number + 1) * asked)
            for side, (url, named) in sides.items():
                for streamed in (False, True):
                    chats = ask_all(url, named, numbers, tokens=TOKENS, streamed=streamed, at_once=CHATS)
                    tokens = sum(len(policy.tokenizer(chat.text, add_special_tokens=False)["input_ids"]) for chat in chats)
                    seconds[f"{side}_streamed" if streamed else side].append(seconds_of(chats) / tokens)
                    if streamed:
                        first[side].append(float(np.median([chat.first - chat.begun for chat in chats])))
            prompts = [[Message.model_validate(message) for message in messages(i)] for i in numbers]
            alone, prefill = one_by_one(policy, prompts, TOKENS)
            seconds["generate"].append(alone)
            first["generate"].append(float(np.median(prefill)))
            seconds["engine"].append(by_our_engine(policy, prompts, TOKENS, CHATS))
            seconds["generate_batch"].append(by_continuous_batching(batched, prompts, TOKENS, CHATS))
    best = min(("serve", "serve_continuous"), key=lambda side: float(np.median(seconds[side])))
    mode = "with" if best == "serve_continuous" else "without"
    unit = f"tokens/s, ours / transformers serve {mode} continuous batching"
    yield speed_ratio("local_ratio", seconds["ours"], seconds["generate"], ">=3", "tokens/s, ours / generate one by one")
    yield speed_ratio("local_streamed_ratio", seconds["ours_streamed"], seconds["generate"], ">=3", "the same, streamed by ours")
    yield speed_ratio("local_ratio_to_serve", seconds["ours"], seconds[best], ">=1", unit)
    yield speed_ratio("local_streamed_ratio_to_serve", seconds["ours_streamed"], seconds[f"{best}_streamed"], ">=1", f"{unit}, streamed")
    fastest = min(("serve", "serve_continuous"), key=lambda side: float(np.median(first[side])))
    about = f"p50 to the first text, ours / {fastest}"
    yield speed_ratio("local_first_token_ratio", first[fastest], first["ours"], "<=1.2", about)
    yield speed_ratio("local_engine_ratio", seconds["engine"], seconds["generate_batch"], "", "tokens/s, our engine / generate_batch")
    for side, found in seconds.items():
        yield over_rounds(f"local_{side}_tokens_per_s", [1 / each for each in found], "tokens/s, median round")
    for side, found in first.items():
        yield over_rounds(f"local_{side}_first_token_ms", [1000 * each for each in found], "ms, p50 of the median round")
