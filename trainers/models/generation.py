"""Load a language model and let it reply: the one place that samples and scores texts under a policy.

Models come from a setting (``shipped``, a folder or a Hugging Face id) and adapters from the artifact store; replies go to evaluation,
benchmarks and the serving backend.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.utils.peft_utils import find_adapter_config_file

from storage.errors import ModelNotFound
from storage.events import Message, Sampling
from trainers.models.model_files import adapter_base, check_adapter, check_model, is_adapter

SHIPPED = "shipped"

# For models that come without one, so that a plain language model can be tried too.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@dataclass
class Policy:
    """A language model that replies, with its tokenizer; ``name`` is what it was loaded from."""

    model: Any  # transformers.PreTrainedModel, or a PeftModel where the adapter was kept apart
    tokenizer: Any  # transformers.PreTrainedTokenizerBase
    name: str


def resolve_model(ref: str) -> str:
    """The folder or Hugging Face id behind ``ref``; ``shipped`` is the model that comes with the distribution.

    Raises
    ------
    ModelNotFound
        ``ref`` is a path and no model lies there.
    """
    if ref == SHIPPED:
        folder = Path(__file__).resolve().parent / "shipped"
        if not (folder / "config.json").is_file():
            raise ModelNotFound(
                "the shipped model is missing from this installation: build it with `python -m simulation.base_model.build`"
            )
        return str(folder)
    folder = Path(ref).expanduser()
    if folder.is_dir():
        if not is_adapter(folder) and not (folder / "config.json").is_file():
            raise ModelNotFound(f"{ref}: the folder holds no config.json; give the folder that `save_pretrained` wrote")
        return str(folder)
    if folder.is_absolute() or ref.startswith((".", "~")) or ref.count("/") > 1:
        raise ModelNotFound(f"{ref}: there is no such folder; give a model's folder, a Hugging Face id, or 'shipped'")
    return ref


def layers(ref: str) -> tuple[str, tuple[Path, ...]]:
    """The base model's folder or id behind ``ref``, and the adapters to lay over it in that order, where ``ref`` is an adapter's folder.

    Raises
    ------
    ModelNotFound
        ``ref``, or the base that an adapter names, is a path and nothing lies there.
    """
    place, adapters = resolve_model(ref), list[Path]()
    while is_adapter(folder := Path(place).resolve()):
        if folder in adapters:
            raise ModelNotFound(f"{folder}: this adapter is its own base; set base_model_name_or_path in its adapter_config.json")
        adapters.insert(0, folder)
        base = adapter_base(folder)
        try:
            place = resolve_model(base)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"{folder}: its base model is not there ({error}); set base_model_name_or_path in its adapter_config.json"
            ) from error
    return place, tuple(adapters)


def load_policy(ref: str, adapter: Path | None = None, *, merge: bool = True) -> Policy:
    """Load ``ref``, with a LoRA adapter merged into its weights (quickest to sample from) or kept apart.

    ``ref`` may be an adapter's folder itself: its base is what its ``adapter_config.json`` names.

    Raises
    ------
    ModelNotFound
        The model or the adapter is not there, is damaged, holds a pickle, or could not be fetched.
    """
    base, below = layers(ref)
    adapters = below if adapter is None else (*below, adapter)
    if Path(base).is_dir():
        check_model(Path(base))
    elif find_adapter_config_file(base) is not None:  # transformers would load the adapter by itself, from a pickle too
        raise ModelNotFound(f"{base}: an adapter; fetch it with `hf download {base} --local-dir FOLDER` and give the folder")
    for folder in adapters:
        check_adapter(folder)
    tokenizer = load_tokenizer(ref)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _load_model(base, _name(base, below), "auto" if device == "cuda" else torch.float32)
    for folder in adapters:
        from peft import PeftModel

        with _named(str(folder)):
            model = PeftModel.from_pretrained(model, str(folder))
        if merge or folder is not adapter:
            model = model.merge_and_unload()
    return Policy(model.to(device).eval(), tokenizer, ref if adapter is None else f"{ref} + {adapter.name}")


def _load_model(place: str, name: str, dtype: Any) -> Any:
    with _named(name):
        loaded: Any = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, use_safetensors=True, output_loading_info=True)
    model, found = loaded
    if missing := sorted(found["missing_keys"]):  # transformers draws them at random
        raise ModelNotFound(f"{name}: {len(missing)} of its weights are missing, {missing[0]} the first; copy or download it again")
    return model


def _name(base: str, adapters: tuple[Path, ...]) -> str:
    return f"{base} (the base of {adapters[0]})" if adapters else base


def load_tokenizer(ref: str) -> Any:
    """The tokenizer of ``ref``, with a padding token and a chat template in any case; an adapter's own where its folder holds one."""
    base, adapters = layers(ref)
    own = next((str(folder) for folder in reversed(adapters) if (folder / "tokenizer_config.json").is_file()), None)
    with _named(f"{own or _name(base, adapters)}, its tokenizer"):
        try:
            tokenizer = AutoTokenizer.from_pretrained(own or base, padding_side="left")
        except Exception as error:
            if type(error) is not Exception:  # the package tokenizers raises nothing more exact
                raise
            raise ValueError(f"tokenizer.json: {error}") from error
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    _drop_empty_tokens(tokenizer)
    if tokenizer.eos_token is None:
        with _named(ref):
            end = AutoConfig.from_pretrained(base).get_text_config().eos_token_id
        end = end[0] if isinstance(end, list) else end
        tokenizer.eos_token = None if end is None else tokenizer.convert_ids_to_tokens(end)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _drop_empty_tokens(tokenizer: Any) -> None:
    """Make a special token that is an empty text absent: as a mark, it would be found in every text.

    Templates may join it to other texts, so there it stays an empty text.
    """
    empty = [name for name, token in tokenizer.special_tokens_map.items() if token == ""]
    for name in empty:
        setattr(tokenizer, name, None)
    if isinstance(tokenizer.chat_template, str):
        tokenizer.chat_template = "".join(f"{{% set {name} = '' %}}" for name in empty) + tokenizer.chat_template


@contextlib.contextmanager
def _named(ref: str) -> Iterator[None]:
    """transformers raises OSError for everything from a typing error to a missing network; say which model and what to do."""
    try:
        yield
    except (OSError, ValueError, LookupError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelNotFound(
            f"{ref}: no model could be loaded ({reason}); give a folder that holds one, or an id that is in the local Hugging Face cache "
            "or can be fetched from here"
        ) from error


def prompt_ids(policy: Policy, prompt: Sequence[Message]) -> list[int]:
    """The prompt as the chat template writes it, up to where the reply begins."""
    messages = [{"role": message.role, "content": message.content} for message in prompt]
    text = policy.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(policy.tokenizer(text, add_special_tokens=False)["input_ids"])


def end_tokens(policy: Policy) -> list[int]:
    """Every token that ends a reply."""
    configured = policy.model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in [*ends, policy.tokenizer.eos_token_id] if token is not None})


def generate(
    policy: Policy,
    prompts: Sequence[Sequence[Message]],
    sampling: Sampling,
    seed: int,
    *,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """One reply to each prompt, in the order of ``prompts``.

    Prompts are batched by length and padded on the left; those too long for the model lose their beginning. Row i draws from numbers that
    depend on ``seed`` and i only, so that the batch size does not decide what is said. ``progress(done, all)`` is called after each batch.
    """
    limit = _context(policy) - sampling.max_tokens
    rows = [prompt_ids(policy, prompt)[-limit:] for prompt in prompts]
    draws = torch.rand(len(rows), sampling.max_tokens, generator=torch.Generator().manual_seed(seed))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    ends = torch.tensor(end_tokens(policy))
    replies = [""] * len(rows)
    for start in range(0, len(order), batch):
        chunk = order[start : start + batch]
        with torch.no_grad():
            spoken = _reply_tokens(policy, [rows[i] for i in chunk], draws[chunk], sampling, ends)
        for i, text in zip(chunk, policy.tokenizer.batch_decode(spoken, skip_special_tokens=True), strict=True):
            replies[i] = _until(text, sampling.stop).strip()
        if progress is not None:
            progress(min(start + batch, len(order)), len(order))
    return replies


def _reply_tokens(policy: Policy, rows: list[list[int]], draws: torch.Tensor, sampling: Sampling, ends: torch.Tensor) -> list[list[int]]:
    """The sampled tokens of one batch, without the one that ended each."""
    inputs, mask = _left_padded(rows, policy)
    device = inputs.device
    accepted = _accepted(policy)
    cache = DynamicCache(config=policy.model.config)
    cache.layers = [_Roomy() if type(layer) is DynamicLayer else layer for layer in cache.layers]  # type: ignore[no-untyped-call]
    spoken: list[list[int]] = [[] for _ in rows]
    at = torch.arange(len(rows))  # which row of the batch each line of the tensors is
    going = torch.ones(len(rows), dtype=torch.bool)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for step in range(sampling.max_tokens):
        arguments = {"position_ids": positions, "logits_to_keep": 1}
        logits = policy.model(
            input_ids=inputs,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: value for name, value in arguments.items() if name in accepted},
        ).logits[:, -1]
        chosen = draw(logits.float().cpu(), draws[at, step], sampling)
        going &= ~torch.isin(chosen, ends)
        for line in going.nonzero().flatten().tolist():
            spoken[int(at[line])].append(int(chosen[line]))
        if not going.any():
            break
        inputs = chosen[:, None].to(device)
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if going.float().mean() < 0.75:  # dropping finished rows copies the cache: not for each single one
            keep = going.nonzero().flatten()
            at, going = at[keep], going[keep]
            keep = keep.to(device)
            inputs, positions, mask = inputs[keep], positions[keep], mask[keep]
            cache.batch_select_indices(keep)
    return spoken


def draw(logits: torch.Tensor, uniform: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """One token a row by inverting the cumulative distribution at ``uniform``; shapes ``(n, vocabulary)``, ``(n,)`` -> ``(n,)``.

    Temperature 0 takes the likeliest token; ``top_p`` keeps the fewest tokens that hold that much probability.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    chances = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ranked, index = chances.sort(-1, descending=True)
        ranked[ranked.cumsum(-1) - ranked >= sampling.top_p] = 0
        chances = torch.zeros_like(chances).scatter(-1, index, ranked)
    total = chances.cumsum(-1)
    # right=True never lands on a token of zero probability, not even at 0; the last rounding is caught by the clamp.
    found = torch.searchsorted(total, (uniform * total[:, -1])[:, None], right=True)
    return found.flatten().clamp(max=logits.shape[-1] - 1)


def log_probabilities(policy: Policy, prompts: Sequence[Sequence[Message]], replies: Sequence[str], *, batch: int = 32) -> list[np.ndarray]:
    """log p(token | before) of each reply's tokens and of the token that ends it, under ``policy``; one array ``(tokens,)`` a reply."""
    texts = [reply_ids(policy, reply) for reply in replies]
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    for chunk, logits in reply_logits(policy, prompts, texts, batch=batch):
        for i, row in zip(chunk, logits, strict=True):
            tokens = torch.tensor(texts[i], device=row.device)
            found[i] = row.log_softmax(-1).gather(-1, tokens[:, None]).flatten().cpu().numpy()
    return found


def reply_ids(policy: Policy, reply: str) -> list[int]:
    """The reply's tokens and the one that ends it."""
    return [*policy.tokenizer(reply, add_special_tokens=False)["input_ids"], policy.tokenizer.eos_token_id]


def reply_logits(
    policy: Policy, prompts: Sequence[Sequence[Message]], replies: Sequence[Sequence[int]], *, batch: int = 32
) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
    """Batch by batch, the indices of its rows and for each the float32 logits before every token of its reply, ``(tokens, vocabulary)``."""
    limit = _context(policy)
    rows = [[*prompt_ids(policy, prompt), *reply][-limit:] for prompt, reply in zip(prompts, replies, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    accepted = _accepted(policy)
    for start in range(0, len(order), batch):
        chunk = order[start : start + batch]
        inputs, mask = _left_padded([rows[i] for i in chunk], policy)
        longest = max(len(replies[i]) for i in chunk) + 1
        arguments = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": longest}
        with torch.no_grad():  # not around the yield: it would hold for the caller too
            logits = policy.model(
                input_ids=inputs, attention_mask=mask, **{name: value for name, value in arguments.items() if name in accepted}
            ).logits.float()
        yield chunk, [logits[line, -len(replies[i]) - 1 : -1] for line, i in enumerate(chunk)]


def _left_padded(rows: Sequence[Sequence[int]], policy: Policy) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(map(len, rows))
    inputs = torch.tensor([[policy.tokenizer.pad_token_id] * (length - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    device = next(policy.model.parameters()).device
    return inputs.to(device), mask.to(device)


def _accepted(policy: Policy) -> set[str]:
    """The names that the model's forward takes: not every architecture takes positions, or computes single logits only."""
    model = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
    return set(inspect.signature(type(model).forward).parameters)


def _context(policy: Policy) -> int:
    return int(getattr(policy.model.config.get_text_config(), "max_position_embeddings", None) or 1_000_000)


def _until(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text


class _Roomy(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values in buffers with room to grow: copying the whole cache for each token took four fifths of a step on a CPU."""

    ROOM = 64

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._keys, self._values = key_states[..., :0, :], value_states[..., :0, :]
        if end > self._keys.shape[-2]:
            self._keys, self._values = _grown(self._keys, end + self.ROOM), _grown(self._values, end + self.ROOM)
        self._keys[..., begin:end, :] = key_states
        self._values[..., begin:end, :] = value_states
        self.keys, self.values = self._keys[..., :end, :], self._values[..., :end, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        end = self.get_seq_length()
        self._keys, self._values = self._keys[indices], self._values[indices]
        self.keys, self.values = self._keys[..., :end, :], self._values[..., :end, :]


def _grown(buffer: torch.Tensor, length: int) -> torch.Tensor:
    room = buffer.new_empty(*buffer.shape[:-2], length, buffer.shape[-1])
    room[..., : buffer.shape[-2], :] = buffer
    return room
