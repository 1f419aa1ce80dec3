"""Replies drawn together, one forward pass a token, with draws joining and leaving between the passes: for chat and for evaluation.

Keys and values of all rows lie in one buffer a layer, aligned at their right ends: row i occupies the columns ``starts[i] … length``. A
newcomer's prompt is computed by itself and written left of ``length``; a row that has finished gives its place to the last one. So nothing
is copied but that one row, however many are under way.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from storage.errors import ConfigurationError
from storage.events import Message, Sampling, derived_id
from trainers.models.policy import Policy
from trainers.models.reply import Reply
from trainers.models.sampler import Draw, choose

ROOM = 64  # columns by which a buffer grows, and of padding that all rows share before it is cut away


class Batch:
    """The draws under way on one policy. Used by one thread.

    ``version`` is the name that replies are given.

    Raises
    ------
    ConfigurationError
        The model's layers keep more than keys and values.
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
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(type(self._model).forward).parameters else {}
        self._starts = torch.zeros(capacity, dtype=torch.long, device=self._device)
        self._last = torch.zeros(capacity, dtype=torch.long, device=self._device)
        self._cache = Cache(layer_class_to_replicate=_Rows)

    @property
    def _layers(self) -> list["_Rows"]:
        return self._cache.layers  # type: ignore[return-value]

    @torch.inference_mode()
    def admit(self, draws: Sequence[Draw]) -> None:
        """Compute the prompts and draw the first token of each; there must be room for them."""
        for group in _alike(draws):
            self._admit(group)
        self._leave()

    @torch.inference_mode()
    def step(self) -> None:
        """Draw one token for every row."""
        n = len(self.draws)
        if not n:
            return
        length = self._layers[0].length
        columns = torch.arange(length + 1, device=self._device)
        starts = self._starts[:n]
        logits = self._model(
            input_ids=self._last[:n, None],
            attention_mask=(columns >= starts[:, None]).long(),
            position_ids=(length - starts)[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
        self._spoken(0, choose(logits, self.draws, self._ends_tensor))
        self._leave()

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
                self._layers.append(_Rows())
            shift = self._layers[index].write(begin, self._capacity, layer.keys, layer.values)
        self._starts[:begin] += shift
        self._starts[begin : begin + len(draws)] = pads + self._layers[0].length - longest
        self.draws.extend(draws)
        self._spoken(begin, choose(found.logits[:, -1], draws, self._ends_tensor))

    def _spoken(self, begin: int, tokens: list[int]) -> None:
        self._last[begin : begin + len(tokens)] = torch.tensor(tokens, device=self._device)
        for draw, token in zip(self.draws[begin:], tokens, strict=True):
            reason = draw.take(token, self._ends, self._tokenizer)
            if reason is not None:
                draw.finish(reason, self.version)
                draw.cancelled = True

    def _leave(self) -> None:
        """Give the places of rows that are done to the last ones, and cut off columns that no row needs."""
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
        if spare >= ROOM or not self.draws:
            for layer in self._layers:
                layer.cut(len(self.draws), spare)
            self._starts -= spare


def check_layers(policy: Policy) -> None:
    """Refuse a model whose rows cannot be kept in one buffer a layer."""
    layers = DynamicCache(config=policy.model.config).layers
    if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        raise ConfigurationError(
            f"model = {policy.name!r}: its layers keep more than keys and values, which cannot be batched here; "
            "serve it by another server and set upstream_url in [serving]"
        )


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

    Prompts too long for the model lose their oldest turns. Reply i draws from numbers that depend on ``seed`` and i only, so that the batch
    size does not decide what is said. ``progress(done, all)`` is called as replies are finished.
    """
    replies: list[str | None] = [None] * len(prompts)

    def keep(i: int, item: str | Reply | Exception) -> None:
        if isinstance(item, Exception):
            raise item
        replies[i] = item.text.strip() if isinstance(item, Reply) else item

    draws = []
    for i, prompt in enumerate(prompts):
        ids = policy.chat.fitted_ids(prompt, policy.window - sampling.max_tokens)
        own = sampling.model_copy(update={"seed": derived_id("draw", seed, i).int % 2**63})
        draws.append(Draw(ids, own, sampling.max_tokens, partial(keep, i), pieces=False))
    waiting = sorted(draws, key=lambda draw: len(draw.ids))
    rows, told = Batch(policy, batch), 0
    while waiting or rows.draws:
        free = batch - len(rows.draws)
        if waiting and (free >= batch // 4 or not rows.draws):  # a few at a time would each cost a pass of their own
            joining, waiting = waiting[:free], waiting[free:]
            rows.admit(joining)
        rows.step()
        done = len(draws) - len(waiting) - len(rows.draws)
        if progress is not None and (done - told >= batch or done == len(draws) > told):
            told = done
            progress(done, len(draws))
    return [reply or "" for reply in replies]


def _alike(draws: Sequence[Draw]) -> list[list[Draw]]:
    """Groups of prompts of like length: little padding, few passes."""
    groups: list[list[Draw]] = []
    for draw in sorted(draws, key=lambda draw: len(draw.ids)):
        if groups and len(draw.ids) <= 1.25 * len(groups[-1][0].ids) + 8:
            groups[-1].append(draw)
        else:
            groups.append([draw])
    return groups


class _Rows(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values of all rows, in buffers of shape ``(capacity, heads, columns, width)``."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.length = 0

    def get_seq_length(self) -> int:
        return self.length

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Append one column for each of the first rows; all of them up to there."""
        rows, end = len(key_states), self.length + key_states.shape[-2]
        self._make_room(end, 0)
        self.keys[:rows, :, self.length : end] = key_states
        self.values[:rows, :, self.length : end] = value_states
        self.length = end
        return self.keys[:rows, :, :end], self.values[:rows, :, :end]

    def write(self, begin: int, capacity: int, keys: torch.Tensor, values: torch.Tensor) -> int:
        """Put new rows' prompts left of ``length``; returns by how many columns the older rows had to move to the right."""
        if not self.is_initialized:
            shape = (capacity, keys.shape[1], keys.shape[2] + ROOM)
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
        kept = self.length - columns
        if rows and columns:
            self.keys[:rows, :, :kept] = self.keys[:rows, :, columns : self.length].clone()
            self.values[:rows, :, :kept] = self.values[:rows, :, columns : self.length].clone()
        self.length = kept

    def _make_room(self, end: int, shift: int) -> None:
        """Buffers of at least ``end`` columns with what there is moved right by ``shift``. Zeros, since a masked NaN is still a NaN."""
        if end > self.keys.shape[2] or shift:
            self.keys, self.values = (_moved(buffer, end, shift, self.length) for buffer in (self.keys, self.values))


def _moved(buffer: torch.Tensor, end: int, shift: int, length: int) -> torch.Tensor:
    columns = buffer.shape[2] if end <= buffer.shape[2] else end + ROOM
    fresh = buffer.new_zeros(*buffer.shape[:2], columns, buffer.shape[3])
    fresh[:, :, shift : shift + length] = buffer[:, :, :length]
    return fresh
