"""A client of a running loop: chat, feedback on replies, and what the hub knows. Needs httpx and pydantic, and nothing of the server."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from pydantic import BaseModel, ConfigDict, Field

Message = Mapping[str, str]
Choice = Literal["A", "B", "tie", "neither", "skip"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class APIError(Exception):
    """The server refused a request or failed.

    Attributes
    ----------
    status : of the HTTP answer; 0 where none came
    code, param : which fault, and which part of the request, where the server says so
    retry_after : seconds after which it is worth trying again; None where it is not
    """

    def __init__(
        self, message: str, *, status: int = 0, code: str | None = None, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after


class ChatReply(BaseModel):
    """A reply, and the ids under which recruiters can judge it.

    ``pair_id`` is that of the pair that is drawn from this reply and a second one; None where no second one is drawn.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    version: str
    conversation_id: str
    reply_id: UUID | None = None
    pair_id: UUID | None = None


class Receipt(BaseModel):
    """The server has the feedback on its disk. ``waiting`` says that the pair itself is not on the log yet."""

    model_config = ConfigDict(frozen=True)

    event_id: UUID
    pair_id: UUID | None = None
    waiting: bool | None = None


class Pair(BaseModel):
    """A pair of the product's own responses that recruiters can judge."""

    model_config = ConfigDict(frozen=True)

    event_id: UUID
    pair_id: UUID
    conversation_id: str


class _Answer(BaseModel):
    """The error that every port answers with."""

    message: str
    code: str | None = None
    param: str | None = None
    reasons: list[str] = Field(default_factory=list)


class Client:
    """Talks to serving and to the hub.

    Every method raises :class:`APIError`. Sending a judgment again counts once only if nothing changed in between: the server keeps the
    later one of a recruiter on a pair.

    Parameters
    ----------
    serving, hub : their addresses, without ``/v1``
    timeout : seconds that an answer may take
    """

    def __init__(self, serving: str = "http://127.0.0.1:8000", hub: str = "http://127.0.0.1:8050", *, timeout: float = 60.0) -> None:
        self._serving, self._hub = (_client(url, timeout) for url in (serving, hub))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._serving.close()
        self._hub.close()

    def chat(
        self,
        messages: str | Sequence[Message],
        *,
        model: str = "champion",
        conversation_id: str | None = None,
        user: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> ChatReply:
        """The champion's reply to a question, or to a conversation of messages with role and content.

        ``user`` is the product's own id of the candidate, which the server keeps as a pseudonym.
        """
        given = [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(message) for message in messages]
        metadata = None if conversation_id is None else {"conversation_id": conversation_id}
        body = {"model": model, "messages": given, "metadata": metadata, "user": user}
        answer = _ask(
            self._serving, "POST", "/v1/chat/completions", body | {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        )
        return ChatReply(text=answer["choices"][0]["message"]["content"], version=answer["model"], **answer["feedbackloop"])

    def models(self) -> list[str]:
        """The names that ``model`` of :meth:`chat` takes; the version that serves comes first."""
        return [model["id"] for model in _ask(self._serving, "GET", "/v1/models")["data"]]

    def add_pair(
        self,
        prompt: str | Sequence[Message],
        responses: tuple[str, str],
        *,
        versions: tuple[str, str] = ("product", "product"),
        conversation_id: str | None = None,
        pair_id: UUID | None = None,
    ) -> Pair:
        """Give two responses of the product's own to one prompt to recruiters to judge."""
        given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(message) for message in prompt]
        body = {"prompt": given, "responses": responses, "versions": versions, "conversation_id": conversation_id, "pair_id": pair_id}
        return Pair.model_validate(_ask(self._serving, "POST", "/v1/pairs", body))

    def judge(
        self,
        pair_id: UUID | str,
        *,
        recruiter: str,
        choice: Choice | None = None,
        objectives: Mapping[str, Choice] | None = None,
        strength: int | None = None,
        reason: str | None = None,
        shown_first: Literal["A", "B"] | None = None,
        seconds: float | None = None,
    ) -> Receipt:
        """What a recruiter says of a pair: overall, or on single objectives; ``strength`` is 1 (negligible) to 4 (significant)."""
        said = {"pair_id": pair_id, "recruiter": recruiter, "choice": choice, "objectives": dict(objectives or {}), "strength": strength}
        return self._feedback("comparison", said | {"reason": reason, "shown_first": shown_first, "seconds": seconds})

    def rate(
        self,
        conversation_id: str,
        thumb: Literal["up", "down"],
        *,
        recruiter: str,
        reply_id: UUID | str | None = None,
        reason: str | None = None,
    ) -> Receipt:
        """A thumb on one reply of a conversation; on its last one where ``reply_id`` is absent."""
        said = {"conversation_id": conversation_id, "thumb": thumb, "recruiter": recruiter, "reply_id": reply_id, "reason": reason}
        return self._feedback("thumb", said)

    def edit(
        self,
        prompt: str | Sequence[Message],
        original: str,
        edited: str,
        *,
        recruiter: str,
        version: str = "product",
        conversation_id: str | None = None,
        reason: str | None = None,
    ) -> Receipt:
        """How a recruiter would have put a reply: a pair of both, judged for the rewrite."""
        given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(message) for message in prompt]
        said = {"prompt": given, "original": original, "edited": edited, "recruiter": recruiter, "version": version}
        return self._feedback("edit", said | {"conversation_id": conversation_id, "reason": reason})

    def status(self) -> dict[str, Any]:
        """Counts at every station, the reward model, the threshold and the champion, as the hub's overview shows them."""
        return dict(_ask(self._hub, "GET", "/v1/status"))

    def runs(self) -> list[dict[str, Any]]:
        """The training runs, newest first."""
        return list(_ask(self._hub, "GET", "/v1/runs")["runs"])

    def versions(self) -> dict[str, Any]:
        """The model versions with their gates and reviews, and the champion."""
        return dict(_ask(self._hub, "GET", "/v1/versions"))

    def export(self) -> Iterator[dict[str, Any]]:
        """The preference records, one at a time, as training reads them."""
        import json

        with self._hub.stream("GET", "/v1/export") as answer:
            if not answer.is_success:
                answer.read()
                raise _error(answer)
            for line in answer.iter_lines():
                if line:
                    yield json.loads(line)

    def _feedback(self, kind: str, said: Mapping[str, Any]) -> Receipt:
        body = {"type": kind} | {name: value for name, value in said.items() if value is not None}
        return Receipt.model_validate(_ask(self._serving, "POST", "/v1/feedback", body))


def _client(url: str, timeout: float) -> httpx.Client:
    """A proxy of the surroundings knows nothing of this machine's own ports."""
    return httpx.Client(base_url=url.rstrip("/"), timeout=timeout, trust_env=urlsplit(url).hostname not in LOOPBACK)


def _ask(client: httpx.Client, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    sent = None if body is None else {name: _plain(value) for name, value in body.items() if value is not None}
    try:
        answer = client.request(method, path, json=sent)
    except httpx.HTTPError as error:
        raise APIError(f"{str(client.base_url).rstrip('/')}{path} does not answer: {error}") from error
    if not answer.is_success:
        raise _error(answer)
    try:
        return answer.json()
    except ValueError as error:
        raise APIError(f"{answer.url} does not answer with JSON: is its address right?", status=answer.status_code) from error


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _error(answer: httpx.Response) -> APIError:
    wait = answer.headers.get("retry-after", "")
    try:
        said = _Answer.model_validate(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        said = _Answer(message=f"{answer.url} answered {answer.status_code}: {answer.text[:200]}")
    message = said.message + "".join(f"\n- {reason}" for reason in said.reasons)
    return APIError(
        message, status=answer.status_code, code=said.code, param=said.param, retry_after=float(wait) if wait.isdigit() else None
    )
