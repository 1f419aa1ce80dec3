"""A prompt with a reply as one sequence of token ids, for encoders and decoders; a reply that is too long as several."""

from collections.abc import Sequence
from typing import Any, Protocol

from storage.events import Message
from trainers.models.chat_format import ChatFormat

MIN_PROMPT_TOKENS = 16  # of a longer prompt, a row keeps at least these

Piece = tuple[list[int], int]  # token ids, and how many of them are the reply's


class Inputs(Protocol):
    """How one kind of model reads a prompt with a reply."""

    def ids(self, prompt: Sequence[Message], reply: str) -> list[int] | None:
        """The token ids, without the oldest turns of a prompt that is too long; None if the reply alone is too long."""

    def pieces(self, prompt: Sequence[Message], reply: str) -> list[Piece]:
        """The same for a reply of any length: one that is too long comes in pieces of half the length, each after the prompt."""


class EncoderInputs:
    """``[CLS] prompt [SEP] reply [SEP]``; the prompt is one line for each message, and loses its beginning."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length

    def ids(self, prompt: Sequence[Message], reply: str) -> list[int] | None:
        """See :class:`Inputs`."""
        question, answer = self._question(prompt), self._of(reply)
        return self._joined(question, answer) if self._fits(question, answer) else None

    def pieces(self, prompt: Sequence[Message], reply: str) -> list[Piece]:
        """See :class:`Inputs`."""
        question, answer = self._question(prompt), self._of(reply)
        parts = [answer] if self._fits(question, answer) else _halves(answer, self._max_length)
        return [(self._joined(question, part), len(part)) for part in parts]

    def _question(self, prompt: Sequence[Message]) -> list[int]:
        return self._of("\n".join(f"{message.role}: {message.content}" for message in prompt))

    def _fits(self, question: list[int], answer: list[int]) -> bool:
        return self._max_length - len(answer) - 3 >= min(len(question), MIN_PROMPT_TOKENS)

    def _joined(self, question: list[int], answer: list[int]) -> list[int]:
        room = self._max_length - len(answer) - 3
        begin, end = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        return [begin, *question[max(len(question) - room, 0) :], end, *answer, end]

    def _of(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


class DecoderInputs:
    """The conversation in the model's chat format, ending with the token that ends a reply, where the reward is read."""

    def __init__(self, tokenizer: Any, max_length: int, name: str) -> None:
        self._chat, self._max_length = ChatFormat(tokenizer, name), max_length

    def ids(self, prompt: Sequence[Message], reply: str) -> list[int] | None:
        """See :class:`Inputs`."""
        answer = self._chat.reply_ids(reply)
        return self._joined(prompt, answer) if self._fits(answer) else None

    def pieces(self, prompt: Sequence[Message], reply: str) -> list[Piece]:
        """See :class:`Inputs`. Of a reply in pieces, the reward is read at the last token of each."""
        answer = self._chat.reply_ids(reply)
        parts = [answer] if self._fits(answer) else _halves(answer, self._max_length)
        return [(self._joined(prompt, part), len(part)) for part in parts]

    def _fits(self, answer: list[int]) -> bool:
        return self._max_length - len(answer) >= MIN_PROMPT_TOKENS

    def _joined(self, prompt: Sequence[Message], answer: list[int]) -> list[int]:
        return [*self._chat.fitted_ids(prompt, self._max_length - len(answer)), *answer]


def _halves(answer: list[int], max_length: int) -> list[list[int]]:
    size = max_length // 2
    return [answer[i : i + size] for i in range(0, len(answer), size)]


def inputs_for(tokenizer: Any, max_length: int, name: str) -> Inputs:
    """The inputs of the model called ``name``: an encoder's tokenizer has a ``[CLS]``, a decoder's has none."""
    if tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None:
        return EncoderInputs(tokenizer, max_length)
    return DecoderInputs(tokenizer, max_length, name)
