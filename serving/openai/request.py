"""The body of ``POST /v1/chat/completions``.

Every field that a client may send is accepted. What the backend cannot honour is named in a header of the response, and refused only if it
would change the meaning of the answer.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag, TypeAdapter, WithJsonSchema

from serving.openai.messages import AnyMessages
from serving.requests import field_error, is_identifier, loaded, read
from storage.events import Identifier, Sampling
from streams.http.fields import WHOLE, GivenName
from trainers.data.messages import ONE, SEVERAL, one_or_several

Stop = Annotated[str, Field(max_length=1000)]  # a single line break is common
MAX_CHOICES = 16
UNLOGGED = "off"  # the value of metadata.feedback
NEUTRAL: Mapping[str, Any] = {  # values that ask for nothing else than what holds without the field
    "tool_choice": "auto",
    "function_call": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "text"},
    "modalities": ["text"],
    "service_tier": "auto",
}


class StreamOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)

    include_usage: bool | None = None


def _with_identifier(metadata: dict[str, Any]) -> dict[str, Any]:
    given = metadata.get("conversation_id")
    if given is not None and not (isinstance(given, str) and is_identifier(given)):
        raise field_error("metadata.conversation_id", "letters, digits and _.:- only, at most 128, a letter or digit first")
    return metadata


Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_with_identifier),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": True,
            "properties": {"conversation_id": TypeAdapter(Identifier | None).json_schema()},
        }
    ),
]
TokenLimit = Annotated[int, Field(ge=1, lt=2**31), WHOLE]
TopLogprobs = Annotated[int, Field(ge=0, le=20), WHOLE]


class Sampled(BaseModel):
    """The fields that the chat endpoints share; any others are accepted too."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)

    model: Annotated[GivenName, Field(examples=["champion"])]
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: GivenName | None = None
    metadata: Metadata | None = None
    store: bool | None = None


class ChatSampled(Sampled):
    """The fields that chat and text completions share."""

    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63), WHOLE] | None = None
    stop: (
        Annotated[
            Annotated[Stop, Tag(ONE)] | Annotated[tuple[Stop, ...], Field(max_length=16), Tag(SEVERAL)], Discriminator(one_or_several)
        ]
        | None
    ) = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES), WHOLE] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    response_format: dict[str, Any] | None = None


class ChatRequest(ChatSampled):
    """The fields that this service reads; any others are accepted too."""

    messages: AnyMessages
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None

    _sent: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def parsed(cls, raw: bytes) -> "ChatRequest":
        """Parse a body; raises :class:`serving.requests.FieldRefused`."""
        asked = read(CHAT, raw)
        asked._sent = loaded(raw)
        return asked

    @classmethod
    def made(cls, sent: Mapping[str, Any]) -> "ChatRequest":
        """The same from the fields of a request to another endpoint."""
        return cls.parsed(orjson.dumps(sent))

    @property
    def sent(self) -> Mapping[str, Any]:
        """The body as the client sent it."""
        return self._sent

    @property
    def conversation_id(self) -> str | None:
        return (self.metadata or {}).get("conversation_id")

    @property
    def is_feedback_material(self) -> bool:
        """Whether the client lets the reply be logged and judged."""
        return self.store is not False and (self.metadata or {}).get("feedback") != UNLOGGED

    def ignored(self, honoured: frozenset[str] | None) -> list[str]:
        """The fields that have a value and no effect on a backend that honours these; all fields have one on an upstream (None)."""
        if honoured is None:
            return []
        return sorted(
            name
            for name, value in self.sent.items()
            if name not in honoured and value not in (None, False, [], {}, "", "none") and value != NEUTRAL.get(name)
        )

    def sampling(self, *, complete: bool, default_tokens: int, best_of: int = 1) -> Sampling:
        """How to draw. If ``complete``, what the client left out has our defaults; else None, since an upstream has its own."""
        fallback: tuple[float | None, float | None, int | None] = (1.0, 1.0, default_tokens) if complete else (None, None, None)
        return Sampling(
            temperature=fallback[0] if self.temperature is None else self.temperature,
            top_p=fallback[1] if self.top_p is None else max(self.top_p, 1e-6),
            max_tokens=self.max_completion_tokens or self.max_tokens or fallback[2],
            seed=self.seed,
            stop=tuple(text for text in ((self.stop,) if isinstance(self.stop, str) else self.stop or ()) if text),
            best_of=best_of,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
        )


CHAT = TypeAdapter(ChatRequest)
