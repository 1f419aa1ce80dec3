"""A prompt with a reply as one sequence of token ids, for encoders and decoders."""

from collections.abc import Sequence
from typing import Any, Protocol

from storage.events import Message
from trainers.models.chat_format import ChatFormat

MIN_PROMPT_TOKENS = 16  # of a longer prompt, a row keeps at least these


class Inputs(Protocol):
    """How one kind of model reads a prompt with a reply."""

    def ids(self, prompt: Sequence[Message], reply: str) -> list[int] | None:
        """The token ids, without the oldest turns of a prompt that is too long; None if the reply alone is too long."""


class EncoderInputs:
    """``[CLS] prompt [SEP] reply [SEP]``; the prompt is one line for each message, and loses its beginning."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length

    def ids(self, prompt: Sequence[Message], reply: str) -> list[int] | None:
        """See :class:`Inputs`."""
        text = "\n".join(f"{message.role}: {message.content}" for message in prompt)
        question, answer = self._of(text), self._of(reply)
        room = self._max_length - len(answer) - 3
        if room < min(len(question), MIN_PROMPT_TOKENS):
            return None
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
        room = self._max_length - len(answer)
        if room < MIN_PROMPT_TOKENS:
            return None
        return [*self._chat.fitted_ids(prompt, room), *answer]


def inputs_for(tokenizer: Any, max_length: int, name: str) -> Inputs:
    """The inputs of the model called ``name``: an encoder's tokenizer has a ``[CLS]``, a decoder's has none."""
    if tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None:
        return EncoderInputs(tokenizer, max_length)
    return DecoderInputs(tokenizer, max_length, name)
