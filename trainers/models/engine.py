"""Continuous batching for chat and evaluation: one forward pass a token, with replies joining and leaving between passes.

Keys and values of all rows are in one right-aligned buffer a layer: row i occupies the columns ``starts[i] … length``. A new row's prompt
is prefilled separately and written left of ``length``; a finished row is replaced by the last one. So only that one row is copied, however
many are active.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from storage.errors import ConfigurationError
from storage.events import Message, Sampling, derived_id
from trainers.models.policy import Policy, check_window
from trainers.models.reply import Piece, Reply
from trainers.models.sampler import Draw, choose

COLUMN_BLOCK = 64  # columns by which a buffer grows, and of common padding before it is trimmed


class Batch:
    """The active draws of one policy; not thread-safe.

    ``version`` is recorded in the replies.

    Raises
    ------
    ConfigurationError
        The model's layers cache more than keys and values.
    """

    def __init__(self, policy: Policy, capacity: int, version: str = "") -> None:
        check_layers(policy)
        self.policy, self.version = policy, version
        self.draws: list[Draw] = []
        self._capacity = capacity
        self._model: Any = policy.model
        self._device = next(self._model.parameters()).device
        self._ends = frozenset(policy.ends)
        self._ends_tensor = torch.tensor(sorted(self._ends), device=self._device, dtype=torch.long)
        self._tokenizer = policy.tokenizer.backend_tokenizer
        config = self._model.config
        layers = DynamicCache(config=config).layers
        self._own_mask = config._attn_implementation == "sdpa" and all(type(layer) is DynamicLayer for layer in layers)
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(type(self._model).forward).parameters else {}
        self._starts = torch.zeros(capacity, dtype=torch.long, device=self._device)
        self._last = torch.zeros(capacity, dtype=torch.long, device=self._device)
        self._cache = Cache(layer_class_to_replicate=_RowCache)

    @property
    def _layers(self) -> list["_RowCache"]:
        return self._cache.layers  # type: ignore[return-value]

    @torch.inference_mode()
    def admit(self, draws: Sequence[Draw]) -> None:
        """Prefill the prompts and draw the first token of each; the batch must have room for them."""
        for group in _grouped_by_length(draws):
            self._admit(group)
        self._remove_finished()

    @torch.inference_mode()
    def step(self) -> None:
        """Draw one token for every row."""
        n = len(self.draws)
        if not n:
            return
        length = self._layers[0].length
        columns = torch.arange(length + 1, device=self._device)
        starts = self._starts[:n]
        mask = columns >= starts[:, None]
        logits = self._model(
            input_ids=self._last[:n, None],
            attention_mask=mask[:, None, None] if self._own_mask else mask.long(),
            position_ids=(length - starts)[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
        self._append_tokens(0, choose(logits, self.draws, self._ends_tensor))
        self._remove_finished()

    def _admit(self, draws: Sequence[Draw]) -> None:
        longest = max(len(draw.ids) for draw in draws)
        pads = torch.tensor([longest - len(draw.ids) for draw in draws], device=self._device)
        ids = torch.tensor([[0] * (longest - len(draw.ids)) + list(draw.ids) for draw in draws], device=self._device)
        mask = (torch.arange(longest, device=self._device) >= pads[:, None]).long()
        prompts = Cache(layer_class_to_replicate=DynamicLayer)
        found = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=prompts,
            use_cache=True,
            **self._options,
        )
        begin = len(self.draws)
        shift = 0
        computed: list[Any] = prompts.layers
        for index, layer in enumerate(computed):
            if len(self._layers) <= index:
                self._layers.append(_RowCache())
            shift = self._layers[index].write(begin, self._capacity, layer.keys, layer.values)
        self._starts[:begin] += shift
        self._starts[begin : begin + len(draws)] = pads + self._layers[0].length - longest
        self.draws.extend(draws)
        self._append_tokens(begin, choose(found.logits[:, -1], draws, self._ends_tensor))

    def _append_tokens(self, begin: int, tokens: list[int]) -> None:
        self._last[begin : begin + len(tokens)] = torch.tensor(tokens, device=self._device)
        for draw, token in zip(self.draws[begin:], tokens, strict=True):
            reason = draw.take(token, self._ends, self._tokenizer)
            if reason is not None:
                draw.finish(reason, self.version)
                draw.cancelled = True

    def _remove_finished(self) -> None:
        """Replace finished rows by the last ones, and trim columns that no row needs."""
        for row in reversed(range(len(self.draws))):
            if self.draws[row].cancelled:
                last = len(self.draws) - 1
                if row != last:
                    for layer in self._layers:
                        layer.move(last, row)
                    self._starts[row], self._last[row] = self._starts[last], self._last[last]
                    self.draws[row] = self.draws[last]
                self.draws.pop()
        spare = int(self._starts[: len(self.draws)].min()) if self.draws else self._layers[0].length
        if spare >= COLUMN_BLOCK or not self.draws:
            for layer in self._layers:
                layer.cut(len(self.draws), spare)
            self._starts -= spare


def check_layers(policy: Policy) -> None:
    """Reject a model whose layers cache more than keys and values."""
    layers = DynamicCache(config=policy.model.config).layers
    if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        raise ConfigurationError(
            f"model = {policy.name!r}: its layers cache more than keys and values, which this engine cannot batch; "
            "run it on another server and set url in [upstream]"
        )


def generate(
    policy: Policy,
    prompts: Sequence[Sequence[Message]],
    sampling: Sampling,
    seed: int,
    *,
    batch: int = 64,
    numbers: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """One reply to each prompt, in the order of ``prompts``.

    Prompts too long for the model lose their oldest turns. Reply i uses random numbers that depend on ``seed`` and ``numbers[i]`` (by
    default i) only: the batch size does not change the replies, and rows of one number have common random numbers.
    ``progress(done, total)`` is called as replies are finished.
    """
    limit = sampling.max_tokens or Sampling().max_tokens or 1
    check_window(policy.window, limit)
    replies: list[str | None] = [None] * len(prompts)

    def collect(i: int, item: Piece | Reply | Exception) -> None:
        if isinstance(item, Exception):
            raise item
        replies[i] = item.text.strip()

    draws = []
    for i, prompt in enumerate(prompts):
        ids = policy.chat.fitted_ids(prompt, policy.window - limit)
        row_sampling = sampling.model_copy(update={"seed": derived_id("draw", seed, i if numbers is None else numbers[i]).int % 2**63})
        draws.append(Draw(ids, row_sampling, limit, partial(collect, i), pieces=False))
    run_draws(policy, draws, batch, progress)
    return [reply or "" for reply in replies]


def run_draws(policy: Policy, draws: Sequence[Draw], batch: int, progress: Callable[[int, int], None] | None = None) -> None:
    """Sample all draws, at most ``batch`` at a time, prompts of similar length together; each is delivered as soon as it is finished."""
    waiting = sorted(draws, key=lambda draw: len(draw.ids))
    rows, reported = Batch(policy, batch), 0
    while waiting or rows.draws:
        free = batch - len(rows.draws)
        if waiting and (free >= batch // 4 or not rows.draws):  # admit in groups: each admission costs a forward pass
            joining, waiting = waiting[:free], waiting[free:]
            rows.admit(joining)
        rows.step()
        done = len(draws) - len(waiting) - len(rows.draws)
        if progress is not None and (done - reported >= batch or done == len(draws) > reported):
            reported = done
            progress(done, len(draws))


def _grouped_by_length(draws: Sequence[Draw]) -> list[list[Draw]]:
    """Group prompts of similar length: little padding, few passes."""
    groups: list[list[Draw]] = []
    for draw in sorted(draws, key=lambda draw: len(draw.ids)):
        if groups and len(draw.ids) <= 1.25 * len(groups[-1][0].ids) + 8:
            groups[-1].append(draw)
        else:
            groups.append([draw])
    return groups


class _RowCache(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer for all rows, in buffers of shape ``(capacity, heads, columns, width)``."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.length = 0

    def get_seq_length(self) -> int:
        return self.length

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new columns of the first rows, and return all columns of these rows."""
        rows, end = len(key_states), self.length + key_states.shape[-2]
        self._make_room(end, 0)
        self.keys[:rows, :, self.length : end] = key_states
        self.values[:rows, :, self.length : end] = value_states
        self.length = end
        return self.keys[:rows, :, :end], self.values[:rows, :, :end]

    def write(self, begin: int, capacity: int, keys: torch.Tensor, values: torch.Tensor) -> int:
        """Write the prompts of new rows left of ``length``; return by how many columns the older rows were shifted right."""
        if not self.is_initialized:
            shape = (capacity, keys.shape[1], keys.shape[2] + COLUMN_BLOCK)
            self.keys = keys.new_zeros(*shape, keys.shape[3])
            self.values = values.new_zeros(*shape, values.shape[3])
            self.is_initialized = True
        columns = keys.shape[2]
        shift = max(0, columns - self.length)
        if shift:
            self._make_room(self.length + shift, shift)
            self.length += shift
        end = begin + len(keys)
        self.keys[begin:end, :, self.length - columns : self.length] = keys
        self.values[begin:end, :, self.length - columns : self.length] = values
        return shift

    def move(self, source: int, target: int) -> None:
        self.keys[target, :, : self.length] = self.keys[source, :, : self.length]
        self.values[target, :, : self.length] = self.values[source, :, : self.length]

    def cut(self, rows: int, columns: int) -> None:
        remaining = self.length - columns
        if rows and columns:
            self.keys[:rows, :, :remaining] = self.keys[:rows, :, columns : self.length].clone()
            self.values[:rows, :, :remaining] = self.values[:rows, :, columns : self.length].clone()
        self.length = remaining

    def _make_room(self, end: int, shift: int) -> None:
        """Grow the buffers to at least ``end`` columns and shift their content right. Zero-filled, since a masked NaN is still a NaN."""
        if end > self.keys.shape[2] or shift:
            self.keys, self.values = (_shifted(buffer, end, shift, self.length) for buffer in (self.keys, self.values))


def _shifted(buffer: torch.Tensor, end: int, shift: int, length: int) -> torch.Tensor:
    columns = buffer.shape[2] if end <= buffer.shape[2] else end + COLUMN_BLOCK
    fresh = buffer.new_zeros(*buffer.shape[:2], columns, buffer.shape[3])
    fresh[:, :, shift : shift + length] = buffer[:, :, :length]
    return fresh
