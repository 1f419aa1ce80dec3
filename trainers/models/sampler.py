"""The state of one reply while it is sampled: its limits, random numbers, text and stop condition.

Chat requests and evaluation create draws, the engine adds their tokens, and the text is returned through ``deliver``.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tokenizers.decoders import DecodeStream

from storage.events import MAX_TEXT, Sampling
from trainers.models.reply import Piece, Reply, TokenLogprob

Deliver = Callable[[Piece | Reply | Exception], None]


class Draw:
    """A reply being drawn for one request.

    Parameters
    ----------
    ids : the prompt's tokens
    limit : maximum tokens of the reply; at most what the model's window leaves
    deliver : called on the engine's thread with each piece of text if ``pieces`` is set, and finally with the reply or the error
    traced : keep the log-probability of each token, for training. The reply may then be empty: no token is excluded, so that the
        tokens are samples of the policy itself
    top_logprobs : return the log-probability of each token and of so many likeliest ones; None returns none
    """

    def __init__(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        limit: int,
        deliver: Deliver,
        *,
        pieces: bool,
        traced: bool = False,
        top_logprobs: int | None = None,
    ) -> None:
        self.ids = ids
        self.sampling = sampling
        self.temperature = 1.0 if sampling.temperature is None else sampling.temperature
        self.top_p = 1.0 if sampling.top_p is None else sampling.top_p
        self.penalised = bool(sampling.frequency_penalty or sampling.presence_penalty)
        self.counts: Counter[int] = Counter()  # of the reply's tokens, for the penalties
        self.top_logprobs = top_logprobs
        self.likeliest: tuple[float, list[tuple[int, float]]] | None = None  # of the token that was drawn last
        self.deliver = deliver
        self.cancelled = False
        self._limit = limit
        self._pieces = pieces
        self._random = random.Random(sampling.seed)
        self._decode = DecodeStream(skip_special_tokens=True)
        self._text = ""
        self._delivered = 0
        self._logprobs: list[TokenLogprob] = []
        self._logprobs_delivered = 0
        self.tokens: list[int] = []  # without the end token
        self.end: int | None = None  # the end token that was drawn
        self.log_probabilities: list[float] | None = [] if traced else None  # of the tokens and the end token

    def uniform(self) -> float:
        """The next random number in [0, 1) of this reply; depends on its seed only."""
        return self._random.random()

    @property
    def blank(self) -> bool:
        """Whether there is no text yet, so that the reply must not end here: an empty reply is useless."""
        return self.log_probabilities is None and (not self._text or self._text.isspace())

    def take(self, token: int, ends: frozenset[int], tokenizer: Any) -> str | None:
        """Add a token; return the finish reason, ``stop`` or ``length``, or None while the reply goes on."""
        if token in ends:
            self.end = token
            return "stop"
        self.tokens.append(token)
        if self.penalised:
            self.counts[token] += 1
        if self.likeliest is not None:
            logprob, top = self.likeliest
            self._logprobs.append(TokenLogprob(tokenizer.decode([token]), logprob, tuple((tokenizer.decode([t]), p) for t, p in top)))
        before = len(self._text)
        # Drop NUL, which a byte-level vocabulary can produce and text stores reject.
        self._text += (self._decode.step(tokenizer, token) or "").replace("\x00", "")
        cut = self._stop_position(before)
        if cut is not None:
            self._text = self._text[:cut]
            return "stop"
        if len(self.tokens) >= self._limit or len(self._text) >= MAX_TEXT:
            self._text = self._text[:MAX_TEXT]
            return "length"
        if self._pieces:
            self._deliver_text(len(self._text) - self._held_back())
        return None

    def finish(self, reason: str, version: str) -> None:
        if self._pieces:
            self._deliver_text(len(self._text), final=True)
        logprobs = None if self.top_logprobs is None else tuple(self._logprobs)
        self.deliver(Reply(self._text, version, reason, len(self.ids), len(self.tokens), logprobs))

    def _deliver_text(self, upto: int, *, final: bool = False) -> None:
        if upto > self._delivered or (final and len(self._logprobs) > self._logprobs_delivered):
            self.deliver(Piece(self._text[self._delivered : upto], tuple(self._logprobs[self._logprobs_delivered :])))
            self._delivered, self._logprobs_delivered = upto, len(self._logprobs)

    def _stop_position(self, before: int) -> int | None:
        """The start of the earliest stop text, if the last token has completed one."""
        found = (self._text.find(stop, max(0, before - len(stop) + 1)) for stop in self.sampling.stop)
        return min((at for at in found if at >= 0), default=None)

    def _held_back(self) -> int:
        """The number of trailing characters that may be the start of a stop text."""
        return max((n for stop in self.sampling.stop for n in range(1, len(stop)) if self._text.endswith(stop[:n])), default=0)


def choose(logits: torch.Tensor, draws: Sequence[Draw], ends: torch.Tensor) -> list[int]:
    """The next token of each draw, by its own temperature, ``top_p``, penalties and random number.

    The cumulative distribution is inverted at one uniform number a row, so that a row's choice does not depend on the other rows.

    Parameters
    ----------
    logits : shape ``(n, vocabulary)``
    ends : the tokens that end a reply, shape ``(e,)``
    """
    logits = logits.float()
    wanted = [i for i, draw in enumerate(draws) if draw.top_logprobs is not None]
    own = logits[wanted].log_softmax(-1) if wanted else None  # before penalties
    chosen = _chosen(logits, draws, ends)
    if own is not None:
        for row, i in zip(own, wanted, strict=True):
            values, tokens = row.topk(min(draws[i].top_logprobs or 0, len(row)))
            draws[i].likeliest = float(row[chosen[i]]), list(zip(tokens.tolist(), values.tolist(), strict=True))
    return chosen


def _chosen(logits: torch.Tensor, draws: Sequence[Draw], ends: torch.Tensor) -> list[int]:
    for i, draw in enumerate(draws):
        if draw.counts:
            tokens = torch.tensor(list(draw.counts), device=logits.device)
            times = torch.tensor(list(draw.counts.values()), device=logits.device)
            logits[i, tokens] -= draw.sampling.frequency_penalty * times + draw.sampling.presence_penalty
    blank = [i for i, draw in enumerate(draws) if draw.blank]
    if blank:
        logits[torch.tensor(blank, device=logits.device)[:, None], ends] = -torch.inf
    greedy = [draw.temperature == 0 for draw in draws]
    if all(greedy):
        return logits.argmax(-1).tolist()  # a traced draw has a temperature
    temperatures = torch.tensor([draw.temperature or 1.0 for draw in draws], device=logits.device)
    probabilities = (logits / temperatures[:, None]).softmax(-1)
    if any(draw.top_p < 1 for draw in draws):
        nucleus = torch.tensor([draw.top_p for draw in draws], device=logits.device)
        ranked, order = probabilities.sort(-1, descending=True)
        ranked = ranked.masked_fill(ranked.cumsum(-1) - ranked >= nucleus[:, None], 0.0)
        # restore the vocabulary's order, so that one row's top_p does not change what another draws
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ranked)
    cumulative = probabilities.cumsum(-1)
    uniform = torch.tensor([draw.uniform() for draw in draws], device=logits.device)
    # right=True: never a token of probability zero; the clamp guards against rounding
    chosen = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True).clamp(max=logits.shape[-1] - 1)
    if any(greedy):
        chosen = torch.where(torch.tensor(greedy, device=logits.device)[:, None], logits.argmax(-1, keepdim=True), chosen)
    if any(draw.log_probabilities is not None for draw in draws):
        found = probabilities.gather(-1, chosen).log().flatten().tolist()
        for draw, value in zip(draws, found, strict=True):
            if draw.log_probabilities is not None:
                draw.log_probabilities.append(value)
    return chosen.flatten().tolist()
