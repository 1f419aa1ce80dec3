"""The two replies of a comparison have one prompt: compute its states once, for both.

A batch holds the chosen rows and then the rejected ones. Each pair becomes one row, prompt + chosen + rejected, in which the rejected
reply's tokens have the positions that follow the prompt and do not attend to the chosen reply. The states are those of two separate
rows, and so is everything that is computed from them.
"""

import logging
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}  # of the states, relative to the largest


class SharedPrompts:
    """Replaces the forward pass of a model's trunk, the layers below the language model's head.

    A batch with little to share passes as it is, and so does one that is longer than a layer's attention window. So do all batches if the
    trunk takes no position ids or masks, or if the states of the first pair turn out to depend on how they were computed.
    """

    LEAST_SAVED = 0.1  # share of the tokens, padding included

    def __init__(self, model: Any) -> None:
        trunk = model.base_model
        config = model.config.get_text_config()
        attention = getattr(config, "_attn_implementation", None)
        windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        self._longest = min((window for window in windows if window), default=None)
        self._forward = trunk.forward
        self._boolean = attention == "sdpa"  # eager attention adds its mask to the logits
        self.usable: bool | None = None if attention in ("sdpa", "eager") else False
        trunk.forward = self.forward

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:
        """The trunk's output, with the states of all rows."""
        pairs = len(input_ids) // 2
        options = {name: value for name, value in options.items() if value is not None}
        if (
            self.usable is False
            or len(input_ids) != 2 * pairs
            or "position_ids" in options
            or (self._longest is not None and input_ids.shape[1] > self._longest)
            or not bool(attention_mask[:, 0].all())  # padded on the left
        ):
            return self._forward(input_ids=input_ids, attention_mask=attention_mask, **options)
        if self.usable is None:
            self.usable = self._agrees(input_ids[::pairs], attention_mask[::pairs], options)
            return self.forward(input_ids, attention_mask, **options)
        packed = Packed(input_ids, attention_mask)
        if packed.ids.numel() > (1 - self.LEAST_SAVED) * input_ids.numel():
            return self._forward(input_ids=input_ids, attention_mask=attention_mask, **options)
        return self._shared(packed, options)

    def _shared(self, packed: "Packed", options: dict[str, Any]) -> Any:
        mask = packed.mask
        if not self._boolean:
            mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
        output = self._forward(input_ids=packed.ids, attention_mask=mask, position_ids=packed.positions, **options)
        output.last_hidden_state = packed.rows(output.last_hidden_state)
        return output

    @torch.no_grad()
    def _agrees(self, input_ids: Tensor, attention_mask: Tensor, options: dict[str, Any]) -> bool:
        """Whether a pair has the same states both ways."""
        plain = self._forward(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state
        try:
            shared = self._shared(Packed(input_ids, attention_mask), options).last_hidden_state
        except (TypeError, ValueError, RuntimeError) as error:
            log.info("prompts are computed once for each reply: this model cannot share them (%s)", error)
            return False
        difference = float(((shared - plain).abs() * attention_mask[..., None]).max())
        agree = difference <= TOLERANCE.get(plain.dtype, 0.0) * float(plain.abs().max())
        if not agree:
            log.info("prompts are computed once for each reply: shared ones change this model's states by %.2g", difference)
        return agree


class Packed:
    """A batch of pairs, each in one row. Rows i and n + i of the ``(2n, t)`` batch, padded on the right, become row i of ``(n, p)``.

    Attributes
    ----------
    ids, positions : ``(n, p)``
    mask : which column (last axis) a column may attend to, ``(n, 1, p, p)``
    """

    def __init__(self, input_ids: Tensor, attention_mask: Tensor) -> None:
        n = len(input_ids) // 2
        self._lengths = attention_mask.sum(1)
        one, other = self._lengths[:n, None], self._lengths[n:, None]
        same = (input_ids[:n] == input_ids[n:]) & attention_mask[:n].bool() & attention_mask[n:].bool()
        common = same.long().cumprod(1).sum(1, keepdim=True)
        columns = torch.arange(int((one + other - common).max()), device=input_ids.device)[None]
        second = columns >= one  # the columns after the first of the two rows
        source = torch.where(second, columns - one + common, columns)
        last = input_ids.shape[1] - 1
        firsts, seconds = (part.gather(1, source.clamp(max=last)) for part in (input_ids[:n], input_ids[n:]))
        self.ids = torch.where(second, seconds, firsts)
        self.positions = source.clamp(max=last)
        earlier = columns[0][:, None] >= columns[0][None]
        own = second[:, :, None] == second[:, None, :]
        self.mask = (earlier & (own | (columns < common)[:, None, :]))[:, None]
        of_first = torch.arange(last + 1, device=input_ids.device).expand(n, -1)
        of_second = torch.where(of_first < common, of_first, of_first - common + one)
        self._columns = torch.cat([of_first, of_second]).clamp(max=columns.shape[1] - 1)

    def rows(self, states: Tensor) -> Tensor:
        """The states of the rows as they were, ``(2n, t, width)`` from ``(n, p, width)``; those of padding have no meaning."""
        both = states.repeat(2, 1, 1)
        return both.gather(1, self._columns[..., None].expand(-1, -1, states.shape[-1]))
