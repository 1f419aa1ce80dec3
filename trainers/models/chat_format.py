"""Converts conversations to a model's token ids, in one way for chat, training, scoring and evaluation.

Chat templates differ in what they accept. Some reject a system message or consecutive turns of one role, and some models have none. What
a template accepts is probed once by rendering short conversations, and conversations are adapted to it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import jinja2

from storage.errors import InputRefused, ModelNotFound
from storage.events import Message

# for models without a chat template; every turn ends with EOS
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}:\n{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
SEPARATOR = "\n\n"  # between texts merged into one turn

_SYSTEM, _USER, _REPLY = "Be brief, probe.", "Hello, probe?", "Goodbye, probe."


class ChatFormat:
    """A tokenizer's chat template and what it accepts.

    Attributes
    ----------
    end : the token that ends a reply: the one that the template writes after a reply, else the tokenizer's EOS. A tokenizer without a token
        to pad with gets it for that too

    Raises
    ------
    ModelNotFound
        The template cannot render a single user message, or there is no token to end a reply.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer = tokenizer
        self._plain = tokenizer.chat_template is None
        if self._plain:
            tokenizer.chat_template = PLAIN_TEMPLATE
        user, reply = {"role": "user", "content": _USER}, {"role": "assistant", "content": _REPLY}
        try:
            self._render([user], reply_follows=True)
        except jinja2.TemplateError as error:
            raise ModelNotFound(f"{name}: its chat template cannot render a user message ({error}); fix chat_template") from error
        self._takes_system = self._renders([{"role": "system", "content": _SYSTEM}, user])
        self._takes_repeats = self._renders([user, {"role": "user", "content": _SYSTEM}])
        self._takes_reply_first = self._renders([reply, user])
        end = self._turn_end([user, reply])
        if end is None:
            raise ModelNotFound(f"{name}: its tokenizer has no token that ends a reply; set eos_token in tokenizer_config.json")
        self.end: int = end
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(end)

    def prompt_ids(self, prompt: Sequence[Message]) -> list[int]:
        """Token ids of the prompt, up to where the reply begins.

        Raises
        ------
        InputRefused
            The template rejects these messages.
        """
        try:
            text = self._render(self._adapted(prompt), reply_follows=True)
        except jinja2.TemplateError as error:
            raise InputRefused(f"messages: the model's chat template refuses them: {error}", "messages") from error
        ids = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        # A template writes its own BOS; the plain one follows the tokenizer.
        return self._tokenizer.build_inputs_with_special_tokens([])[:1] + ids if self._plain and self._prepends_bos else ids

    def reply_ids(self, reply: str) -> list[int]:
        """Token ids of the reply and of its end token."""
        return [*self._tokenizer(reply, add_special_tokens=False)["input_ids"], self.end]

    def fitted_ids(self, prompt: Sequence[Message], room: int) -> list[int]:
        """At most ``room`` prompt tokens: the oldest turns are dropped first, then the start of the last one; system messages stay."""
        ids = self.prompt_ids(prompt)
        for shorter in self._shortened(prompt) if len(ids) > room else ():
            ids = self.prompt_ids(shorter)
            if len(ids) <= room:
                break
        return ids[-room:] if room > 0 else []

    @staticmethod
    def _shortened(prompt: Sequence[Message]) -> Iterator[list[Message]]:
        remaining = list(prompt)
        turns = [message for message in prompt if message.role != "system"]
        for oldest, following in pairwise(turns):
            remaining.remove(oldest)
            if following.role == "user" or following is turns[-1]:  # drop a reply together with its question
                yield list(remaining)
        if turns:
            last, text = remaining.index(turns[-1]), turns[-1].content
            while len(text) > 1:
                text = text[len(text) // 8 + 1 :]
                remaining[last] = turns[-1].model_copy(update={"content": text or "…"})
                yield list(remaining)

    @property
    def _prepends_bos(self) -> bool:
        """Whether the tokenizer prepends BOS."""
        begin = self._tokenizer.bos_token_id
        return begin is not None and list(self._tokenizer("a")["input_ids"])[:1] == [begin]

    def _adapted(self, prompt: Sequence[Message]) -> list[dict[str, str]]:
        """The messages in the form that the template accepts."""
        messages = [{"role": message.role, "content": message.content} for message in prompt]
        if not self._takes_reply_first:
            first = next((i for i, message in enumerate(messages) if message["role"] != "system"), None)
            while first is not None and first < len(messages) and messages[first]["role"] == "assistant":
                messages = _before_first_user([*messages[:first], *messages[first + 1 :]], f"assistant: {messages[first]['content']}")
        if not self._takes_system:
            system = [message["content"] for message in messages if message["role"] == "system"]
            messages = [message for message in messages if message["role"] != "system"]
            messages = _before_first_user(messages, SEPARATOR.join(system)) if system else messages
        if not self._takes_repeats:
            joined: list[dict[str, str]] = []
            for message in messages:
                if joined and joined[-1]["role"] == message["role"]:
                    joined[-1] = message | {"content": joined[-1]["content"] + SEPARATOR + message["content"]}
                else:
                    joined.append(message)
            messages = joined
        return messages

    def _render(self, messages: list[dict[str, str]], *, reply_follows: bool) -> str:
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=reply_follows))

    def _renders(self, messages: list[dict[str, str]]) -> bool:
        """Whether the template accepts these messages and renders all of their texts."""
        try:
            text = self._render(messages, reply_follows=False)
        except jinja2.TemplateError:
            return False
        return all(message["content"] in text for message in messages)

    def _turn_end(self, messages: list[dict[str, str]]) -> int | None:
        try:
            suffix = self._render(messages, reply_follows=False).rpartition(_REPLY)[2]
        except jinja2.TemplateError:
            suffix = ""
        added = self._tokenizer.added_tokens_decoder
        special = {*self._tokenizer.all_special_ids, *(token for token, about in added.items() if about.special)}
        following = next((token for token in self._tokenizer(suffix, add_special_tokens=False)["input_ids"] if token in special), None)
        found = following if following is not None else self._tokenizer.eos_token_id
        return int(found) if found is not None else None


def _before_first_user(messages: list[dict[str, str]], text: str) -> list[dict[str, str]]:
    """The messages with a text prepended to the first user turn, or as a new user turn if there is none."""
    for i, message in enumerate(messages):
        if message["role"] == "user":
            return [*messages[:i], message | {"content": text + SEPARATOR + message["content"]}, *messages[i + 1 :]]
    system = [message for message in messages if message["role"] == "system"]
    return [*system, {"role": "user", "content": text}, *messages[len(system) :]]
