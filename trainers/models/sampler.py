"""One reply while it is drawn token by token: its limits, its own random numbers, its text and where that ends.

Chat requests and evaluation make draws; the engine fills them; what they say goes back through ``deliver``.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tokenizers.decoders import DecodeStream

from storage.events import MAX_TEXT, Sampling
from trainers.models.reply import Reply

Deliver = Callable[[str | Reply | Exception], None]


class Draw:
    """A reply being drawn for one request.

    Parameters
    ----------
    ids : the prompt's tokens
    limit : how many tokens the reply may have; at most what the model's window leaves
    deliver : called by the engine's thread with each piece of text where ``pieces`` is set, and at last with the reply or the error
    """

    def __init__(self, ids: Sequence[int], sampling: Sampling, limit: int, deliver: Deliver, *, pieces: bool) -> None:
        self.ids = ids
        self.sampling = sampling
        self.deliver = deliver
        self.cancelled = False
        self._limit = limit
        self._pieces = pieces
        self._random = random.Random(sampling.seed)
        self._decode = DecodeStream(skip_special_tokens=True)
        self._text = ""
        self._told = 0
        self.tokens: list[int] = []  # drawn so far, without the one that ends the reply

    def uniform(self) -> float:
        """The next of this reply's random numbers in [0, 1); they depend on nothing but its seed."""
        return self._random.random()

    @property
    def blank(self) -> bool:
        """Nothing has been said yet, so that the reply must not end here: an empty reply is of no use to anyone."""
        return not self._text or self._text.isspace()

    def take(self, token: int, ends: frozenset[int], tokenizer: Any) -> str | None:
        """Add a token; the reason why the reply is finished, once it is: ``stop`` or ``length``."""
        if token in ends:
            return "stop"
        self.tokens.append(token)
        before = len(self._text)
        # A control character that no store of text accepts; a byte-level vocabulary can spell it.
        self._text += (self._decode.step(tokenizer, token) or "").replace("\x00", "")
        cut = self._stopped(before)
        if cut is not None:
            self._text = self._text[:cut]
            return "stop"
        if len(self.tokens) >= self._limit or len(self._text) >= MAX_TEXT:
            self._text = self._text[:MAX_TEXT]
            return "length"
        if self._pieces:
            self._tell(len(self._text) - self._held_back())
        return None

    def finish(self, reason: str, version: str) -> None:
        if self._pieces:
            self._tell(len(self._text))
        self.deliver(Reply(self._text, version, reason, len(self.ids), len(self.tokens)))

    def _tell(self, upto: int) -> None:
        if upto > self._told:
            self.deliver(self._text[self._told : upto])
            self._told = upto

    def _stopped(self, before: int) -> int | None:
        """Where the earliest stop text begins, if the last token has completed one."""
        found = (self._text.find(stop, max(0, before - len(stop) + 1)) for stop in self.sampling.stop)
        return min((at for at in found if at >= 0), default=None)

    def _held_back(self) -> int:
        """How many characters at the end may turn out to be the beginning of a stop text."""
        return max((n for stop in self.sampling.stop for n in range(1, len(stop)) if self._text.endswith(stop[:n])), default=0)


def choose(logits: torch.Tensor, draws: Sequence[Draw], ends: torch.Tensor) -> list[int]:
    """The next token of each draw, each under its own temperature, ``top_p`` and random number.

    The cumulative distribution is inverted at one uniform number a row, so that a row's choice does not depend on its neighbours.

    Parameters
    ----------
    logits : shape ``(n, vocabulary)``
    ends : the tokens that end a reply, shape ``(e,)``
    """
    logits = logits.float()
    blank = [i for i, draw in enumerate(draws) if draw.blank]
    if blank:
        logits[torch.tensor(blank, device=logits.device)[:, None], ends] = -torch.inf
    greedy = [draw.sampling.temperature == 0 for draw in draws]
    if all(greedy):
        return logits.argmax(-1).tolist()
    warmth = torch.tensor([draw.sampling.temperature or 1.0 for draw in draws], device=logits.device)
    chances = (logits / warmth[:, None]).softmax(-1)
    if any(draw.sampling.top_p < 1 for draw in draws):
        nucleus = torch.tensor([draw.sampling.top_p for draw in draws], device=logits.device)
        ranked, order = chances.sort(-1, descending=True)
        ranked = ranked.masked_fill(ranked.cumsum(-1) - ranked >= nucleus[:, None], 0.0)
        # back in the vocabulary's order, so that one row's top_p does not change what another draws
        chances = torch.zeros_like(chances).scatter(-1, order, ranked)
    total = chances.cumsum(-1)
    uniform = torch.tensor([draw.uniform() for draw in draws], device=logits.device)
    # right=True: never a token of probability zero; the clamp catches the last rounding
    chosen = torch.searchsorted(total, (uniform * total[:, -1])[:, None], right=True).clamp(max=logits.shape[-1] - 1)
    if any(greedy):
        chosen = torch.where(torch.tensor(greedy, device=logits.device)[:, None], logits.argmax(-1, keepdim=True), chosen)
    return chosen.flatten().tolist()
