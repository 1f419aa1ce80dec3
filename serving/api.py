"""The HTTP routes that candidates' and recruiters' software calls: OpenAI's chat completions, and the feedback on them.

Nothing is answered 2xx before its event is durable: a reply before its answer (of a stream: before its last chunk), feedback before its
receipt. Second responses are drawn by ``pairing`` after that.
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Literal, TypeVar, get_args
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from serving import responses
from serving.feedback.table import adapter, kind_of
from serving.models.backend import Backend
from serving.pairing import Pairing
from serving.requests import CHAT, PAIR, ChatRequest, FieldRefused, documented, read
from serving.responses import Completion
from storage.errors import FeedbackLoopError, InputRefused
from storage.events import Sampling, derived_id
from streams.http.errors import FAILED, SERVER, error_body, refusal
from streams.http.visible_text import one_line
from streams.intake import Intake, messages
from trainers.models.reply import Reply

log = logging.getLogger(__name__)

ClientSource = Literal["product", "simulation"]
SOURCES: tuple[ClientSource, ...] = get_args(ClientSource)
SOURCE_HEADER = "X-FeedbackLoop-Source"

Done = TypeVar("Done")


class Chat:
    """One chat request from the wire to the log."""

    def __init__(
        self, asked: ChatRequest, source: ClientSource, backend: Backend, intake: Intake, pairing: Pairing, default_tokens: int
    ) -> None:
        self._intake = intake
        self._pairing = pairing
        self._asked = asked
        self._source = source
        with _named({"prompt": "messages"}):
            self.prompt = messages([message.plain() for message in asked.messages])
        self.sampling: Sampling = asked.sampling(default_tokens)
        if asked.model not in backend.names():
            known = ", ".join(backend.names())
            raise FieldRefused(f"model: there is no {asked.model!r} here; ask for one of {known}", "model", "model_not_found")
        self.conversation_id = asked.conversation_id or self._derived_conversation()
        self.completion = Completion(backend.names()[0])

    def _derived_conversation(self) -> str:
        """The conversation of a client that names none: its messages up to the candidate's first, which stay the same as it grows."""
        first = next((i for i, message in enumerate(self.prompt) if message.role == "user"), len(self.prompt) - 1)
        candidate = "" if self._asked.user is None else self._intake.pseudonym("candidate", self._asked.user)
        opening = "\x1e".join(f"{message.role}\x1f{message.content}" for message in self.prompt[: first + 1])
        digest = hashlib.sha256(opening.encode()).hexdigest()[:32]
        return f"chat-{derived_id('conversation', candidate, f'prompt-{digest}').hex}"

    async def record(self, reply: Reply) -> dict[str, str | None]:
        """Make the reply durable and offer it for pairing; the ids under which it can be judged."""
        self.completion.model = reply.version
        if not reply.text.strip():
            return responses.extension(self.conversation_id, None, None)
        event = await run_in_threadpool(
            self._intake.reply,
            conversation_id=self.conversation_id,
            prompt=self.prompt,
            reply=reply.text,
            version=reply.version,
            sampling=self.sampling,
            candidate=self._asked.user,
            source=self._source,
        )
        return responses.extension(self.conversation_id, event.event_id, self._pairing.offer(event))

    async def events(self, first: str | Reply, rest: AsyncIterator[str | Reply]) -> AsyncIterator[bytes]:
        """The answer as server-sent events; the last chunk goes out when the reply is on the log."""
        yield self.completion.chunk({"role": "assistant", "content": ""})
        try:
            item = first
            while isinstance(item, str):
                yield self.completion.chunk({"content": item})
                item = await anext(rest)
            ids = await self.record(item)
        except FeedbackLoopError as error:
            status, said, _ = refusal(error, responses.REFUSALS)
            log.warning("a stream broke off with %d: %s", status, one_line(str(error)))
            yield responses.event(said)
            return
        except Exception:
            log.exception("a stream broke off")
            yield responses.event(error_body(FAILED, SERVER))
            return
        yield self.completion.chunk({}, item.finish_reason, feedbackloop=ids)
        options = self._asked.stream_options
        if options is not None and options.include_usage:
            yield self.completion.usage(item)
        yield b"data: [DONE]\n\n"


def routes(backend: Backend, intake: Intake, pairing: Pairing, default_tokens: int) -> APIRouter:
    """The routes on these parts."""
    router = APIRouter()

    @router.post("/v1/chat/completions", openapi_extra=documented(CHAT))
    async def chat_completions(request: Request) -> Response:
        """OpenAI's chat completion, whole or streamed, with the ids under which the reply can be judged in ``feedbackloop``."""
        asked = read(CHAT, await request.body())
        chat = Chat(asked, _source(request), backend, intake, pairing, default_tokens)
        if asked.stream:
            rest = backend.stream(chat.prompt, chat.sampling)
            first = await anext(rest)  # what goes wrong before the first piece still gets its status
            ids = responses.extension(chat.conversation_id, None, None)
            headers = {"X-Accel-Buffering": "no"} | responses.headers(ids)
            return StreamingResponse(chat.events(first, rest), media_type="text/event-stream", headers=headers)
        reply = await backend.complete(chat.prompt, chat.sampling)
        ids = await chat.record(reply)
        return responses.json(chat.completion.whole(reply, ids), headers=responses.headers(ids))

    @router.get("/v1/models")
    async def list_models() -> Response:
        """The names under which the champion can be asked."""
        return responses.json(responses.models(backend.names()))

    @router.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        """One of those names; 404 for any other."""
        if name not in backend.names():
            raise FieldRefused(f"model: there is no {name!r} here", "model", "model_not_found")
        return responses.json(responses.models((name,))["data"][0])

    @router.post("/v1/pairs", openapi_extra=documented(PAIR))
    async def pairs(request: Request) -> Response:
        """Two responses of the product's own to one prompt, for recruiters to compare; durable when answered."""
        asked = read(PAIR, await request.body())
        sides = [{"text": text, "version": version} for text, version in zip(asked.responses, asked.versions, strict=True)]
        publish = partial(
            intake.pair,
            prompt=[message.plain() for message in asked.prompt],
            a=sides[0],
            b=sides[1],
            conversation_id=asked.conversation_id,
            pair_id=asked.pair_id,
            source=_source(request),
        )
        pair = await _published(publish, {"a": "responses.0", "b": "responses.1"})
        pairing.remember(pair.pair_id, drawn=True)
        return responses.json(
            {"status": "accepted", "event_id": str(pair.event_id), "pair_id": str(pair.pair_id), "conversation_id": pair.conversation_id}
        )

    @router.post("/v1/feedback", openapi_extra=documented(adapter()))
    async def feedback(request: Request) -> Response:
        """What a recruiter says of a pair or a reply, of the kind that ``type`` names; durable when answered."""
        given = read(adapter(), await request.body(), discriminated=True)
        caller = request.client.host if request.client else ""
        done = await _published(partial(kind_of(given).publish, intake, given, _source(request), caller), {})
        if done.pair_id is None:
            return responses.json({"status": "accepted", "event_id": str(done.event_id)})
        if done.with_pair:
            pairing.remember(done.pair_id, drawn=True)
        return _receipt(done.event_id, pairing, done.pair_id)

    return router


def _receipt(event_id: UUID, pairing: Pairing, pair_id: UUID) -> Response:
    drawn = pairing.is_drawn(pair_id)
    waiting = None if drawn is None else not drawn
    body: dict[str, Any] = {"status": "accepted", "event_id": str(event_id), "pair_id": str(pair_id), "waiting": waiting}
    return responses.json(body)


async def _published(publish: Callable[[], Done], fields: dict[str, str]) -> Done:
    with _named(fields):
        return await run_in_threadpool(publish)


class _named:
    """Turns the field names of events into those of the request."""

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, InputRefused) or error.field is None:
            return
        head, dot, tail = error.field.partition(".")
        if head in self._fields:
            new = f"{self._fields[head]}{dot}{tail}"
            said = str(error).removeprefix(error.field)
            raise InputRefused(f"{new}{said}", new) from error


def _source(request: Request) -> ClientSource:
    given = request.headers.get(SOURCE_HEADER, "product")
    for source in SOURCES:
        if given == source:
            return source
    raise InputRefused(f"{SOURCE_HEADER}: {given[:80]!r} is neither product nor simulation", SOURCE_HEADER)
