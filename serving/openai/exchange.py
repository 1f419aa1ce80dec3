"""One chat request, from what the client asked to the event on the log; the endpoints of OpenAI's API differ only in their bodies."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from serving import responses
from serving.best_of import best_answer, stream_best
from serving.duel import CurrentDuel
from serving.intake_calls import ClientSource
from serving.models.backend import Answer, Answering, Backend, Choice, Delta, Question, Unavailable
from serving.openai.messages import as_text, newest
from serving.openai.request import ChatRequest
from serving.pairing import Pairing
from serving.requests import FieldRefused
from serving.reranking import Reranker
from serving.safety.safety import ReplyStream, Safety
from storage.events import Intervention, Message
from streams.intake import Intake

UNLOGGED_MODEL = "unlogged"  # the champion, for requests that are no feedback material, such as a client's titles and tags

_UNPRINTABLE = re.compile(r"[^!-+\--~]+")  # in a header, or a comma


@dataclass(frozen=True)
class Service:
    """What chat requests need: the model, where replies are logged, and how they are answered.

    Attributes
    ----------
    default_tokens : limit of a reply of the local model where the client sets none
    best_of : replies that are drawn for each answer in the training stratum
    unlogged_prompts : beginnings of a last message that mark a request as no feedback material
    """

    backend: Backend
    intake: Intake
    pairing: Pairing
    default_tokens: int
    duel: CurrentDuel = field(default_factory=CurrentDuel)
    ranker: Reranker = field(default_factory=lambda: Reranker(None))
    best_of: int = 1
    unlogged_prompts: tuple[str, ...] = ()
    safety: Safety = field(default_factory=Safety)

    def names(self) -> tuple[str, ...]:
        """Model names that a client may request."""
        challenger = self.duel.now
        return (*self.backend.names(), *([challenger.version] if challenger is not None else []), UNLOGGED_MODEL)


class Exchange:
    """The state of one request.

    Attributes
    ----------
    logged : whether the reply is logged and may be judged
    ignored : fields of the request that have no effect

    Raises
    ------
    FieldRefused, InputRefused
        There is no such model, or the request is invalid.
    """

    def __init__(self, service: Service, asked: ChatRequest, source: ClientSource) -> None:
        self._service, self._asked, self._source = service, asked, source
        self._interventions: tuple[Intervention, ...] = ()
        self._refused = False
        self._others: list[str] = []  # texts of further choices that are the model's own
        if asked.model not in service.names():
            known = ", ".join(service.names())
            raise FieldRefused(f"model: {asked.model!r} does not exist; choose one of {known}", "model", "model_not_found")
        conversation = as_text(asked.messages)
        self.prompt = newest(conversation)
        self.conversation_id = asked.conversation_id or self._derived_conversation(conversation)
        self.logged = (
            asked.is_feedback_material
            and asked.model != UNLOGGED_MODEL
            and not self.prompt[-1].content.lstrip().startswith(service.unlogged_prompts or ("\x00",))
        )
        self.ignored = asked.ignored(service.backend.honoured)
        local = service.backend.honoured is not None
        self.question = Question(
            self.prompt,
            asked.sampling(complete=local, default_tokens=service.default_tokens, best_of=self._draws()),
            asked.n or 1,
            (asked.top_logprobs or 0) if asked.logprobs else None,
            asked.sent,
        )

    @property
    def headers(self) -> dict[str, str]:
        """Headers that are known before the answer."""
        names = ", ".join(_UNPRINTABLE.sub("?", name) for name in self.ignored)[:1000]
        return responses.headers(responses.extension(self.conversation_id, None, None)) | (
            {"X-FeedbackLoop-Ignored": names} if names else {}
        )

    async def answer(self) -> tuple[Answer, dict[str, str | None]]:
        """The whole answer, and the ids by which it can be judged; it is on the log."""
        answer = await self._refusal()
        if answer is None:
            answer = await self._from_canary_or_champion()
            answer = await self._checked(answer, [self._reply_stream() for _ in answer.choices])
        return answer, await self._record(answer)

    async def stream(self) -> AsyncIterator[Delta | tuple[Answer, dict[str, str | None]]]:
        """The parts of the answer as they are generated, then what :meth:`answer` returns."""
        async for item in self._parts():
            if isinstance(item, Answer):
                yield item, await self._record(item)
            else:
                yield item

    async def _from_canary_or_champion(self) -> Answer:
        service = self._service
        try:
            return await best_answer(self._canary or service.backend, service.ranker, self.question)
        except Unavailable:  # the canary has just ended
            return await best_answer(service.backend, service.ranker, self.question)

    async def _refusal(self) -> Answer | None:
        """Let the safety filters read the question; an answer if the model must not be asked."""
        safety = self._service.safety
        read = await safety.question(self.prompt)
        self._interventions, self.prompt = read.interventions, read.messages
        self.question = replace(self.question, prompt=read.messages, sent=await safety.body(self.question.sent))
        self._refused = read.refusal is not None
        return None if read.refusal is None else Answer("safety", [Choice(read.refusal, "content_filter")], {})

    async def _checked(self, answer: Answer, streams: Sequence[ReplyStream]) -> Answer:
        """The answer without what filters object to."""
        checked = []
        for choice, stream in zip(answer.choices, streams, strict=True):
            text = stream.sent + await stream.finish("" if stream.fed else choice.text)
            reason = "content_filter" if stream.refused else choice.finish_reason
            checked.append(choice if text == choice.text else replace(choice, text=text, finish_reason=reason, logprobs=None))
            self._interventions += stream.interventions
        self._refused = streams[0].refused
        self._others = [choice.text for choice, stream in zip(checked[1:], streams[1:], strict=True) if not stream.refused]
        return replace(answer, choices=checked)

    def _reply_stream(self) -> ReplyStream:
        form = self._asked.sent.get("response_format")
        intact = isinstance(form, Mapping) and form.get("type") not in (None, "text")
        return ReplyStream(self._service.safety, self.prompt, intact=intact)

    async def _parts(self) -> AsyncIterator[Delta | Answer]:
        refusal = await self._refusal()
        if refusal is not None:
            yield Delta({"role": "assistant", "content": refusal.text})
            yield refusal
            return
        # by choice, of which a server may send fewer than it was asked for
        streams = defaultdict[int, ReplyStream](self._reply_stream)
        held = defaultdict[int, _Held](_Held)
        async for item in self._generated():
            if isinstance(item, Answer):
                of_choices = [streams[index] for index in range(len(item.choices))]
                before = [len(stream.sent) for stream in of_choices]
                answer = await self._checked(item, of_choices)
                for index, (choice, start) in enumerate(zip(answer.choices, before, strict=True)):
                    if choice.text[start:]:
                        yield Delta({"content": choice.text[start:]}, index, held[index].taken(streams[index]))
                yield answer
            elif isinstance(item.fields.get("content"), str):
                passed = await streams[item.index].feed(item.fields["content"])
                held[item.index].add(item.logprobs)
                if passed or len(item.fields) > 1:
                    logprobs = held[item.index].taken(streams[item.index]) if passed else None
                    yield Delta({**item.fields, "content": passed}, item.index, logprobs)
            else:
                yield item

    async def _generated(self) -> AsyncIterator[Delta | Answer]:
        service, started = self._service, False
        try:
            async for item in stream_best(self._canary or service.backend, service.ranker, self.question):
                started = True
                yield item
            return
        except Unavailable:
            if started:
                raise
        async for item in stream_best(service.backend, service.ranker, self.question):  # the canary has just ended
            yield item

    @property
    def _canary(self) -> Answering | None:
        duel = self._service.duel
        return duel.named(self._asked.model) or duel.answering(self.conversation_id)

    def _draws(self) -> int:
        """Replies of which the reward model takes the best; one where the client asks for more than a text, or the stratum is not ours."""
        service, asked = self._service, self._asked
        plain = self.logged and (asked.n or 1) == 1 and not asked.logprobs and not asked.tools and not asked.sent.get("functions")
        if not plain or service.ranker.refusal is not None or service.intake.stratum(self.conversation_id) != "training":
            return 1
        return service.best_of

    def _derived_conversation(self, messages: tuple[Message, ...]) -> str:
        """Id for a conversation without one: of its messages up to the first user message, which stay the same as it grows."""
        first = next((i for i, message in enumerate(messages) if message.role == "user"), len(messages) - 1)
        opening = "\x1e".join(f"{message.role}\x1f{message.content}" for message in messages[: first + 1])
        return self._service.intake.conversation_id(opening, self._asked.user)

    async def _record(self, answer: Answer) -> dict[str, str | None]:
        """Make the reply durable and offer it for pairing; return the ids by which it can be judged."""
        if not self.logged or not answer.text.strip():  # nothing, or the call of a tool
            if self._interventions:
                conversation = self.conversation_id if self.logged else None
                await run_in_threadpool(self._service.intake.interventions, self._interventions, conversation, self._source)
            return responses.extension(self.conversation_id, None, None)
        event = await run_in_threadpool(
            self._service.intake.reply,
            conversation_id=self.conversation_id,
            prompt=self.prompt,
            reply=answer.text,
            version=answer.version,
            sampling=self.question.sampling,
            candidate=self._asked.user,
            source=self._source,
            interventions=self._interventions,
        )
        if self._refused:  # the apology: nothing to compare
            return responses.extension(self.conversation_id, event.event_id, None)
        others = [text for text in self._others if text.strip() and text.strip() != answer.text.strip()]
        if others:
            pair_id = await self._service.pairing.shown(event, others[0])
        else:
            pair_id = self._service.pairing.offer(event, self.question)
        return responses.extension(self.conversation_id, event.event_id, pair_id)


class _Held:
    """Log-probabilities of tokens whose text is held back. After a filter has left text out, they would be those of other tokens."""

    def __init__(self) -> None:
        self._content: list[Any] = []

    def add(self, logprobs: Mapping[str, Any] | None) -> None:
        self._content += (logprobs or {}).get("content") or ()

    def taken(self, stream: ReplyStream) -> dict[str, Any] | None:
        """Those of the text that is sent now."""
        content, self._content = self._content, []
        return None if stream.altered or not content else {"content": content, "refusal": None}
