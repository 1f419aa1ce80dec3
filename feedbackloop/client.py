"""HTTP client for a running loop: chat, feedback on replies, and the hub's status. Needs only httpx and pydantic, not the server."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
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
    status : HTTP status code; 0 if there was no response
    code, param : error code and request field at fault, if the server names them
    retry_after : seconds to wait before a retry, from ``Retry-After``; None if the header is absent
    """

    def __init__(
        self, message: str, *, status: int = 0, code: str | None = None, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after


class ChatReply(BaseModel):
    """A reply, and the ids by which recruiters can judge it.

    ``pair_id`` identifies the pair of this reply and a second response; None if no second response will be drawn.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    version: str
    conversation_id: str
    reply_id: UUID | None = None
    pair_id: UUID | None = None


class Receipt(BaseModel):
    """The feedback is durable on the server. ``waiting`` is True while the pair it refers to is not on the log yet."""

    model_config = ConfigDict(frozen=True)

    event_id: UUID
    pair_id: UUID | None = None
    waiting: bool | None = None


class Pair(BaseModel):
    """A pair of responses supplied by the product, ready to be judged."""

    model_config = ConfigDict(frozen=True)

    event_id: UUID
    pair_id: UUID
    conversation_id: str


class OutcomeReceipt(BaseModel):
    """The groups and the outcome are durable on the server. The ids are None for what was not given."""

    model_config = ConfigDict(frozen=True)

    groups_event_id: UUID | None = None
    outcome_event_id: UUID | None = None
    outcome_id: str | None = None


class _ErrorBody(BaseModel):
    """Error body of serving and of the hub."""

    message: str
    code: str | None = None
    param: str | None = None
    reasons: list[str] = Field(default_factory=list)


class Client:
    """Client for serving and the hub.

    Every method may raise :class:`APIError`. Of several judgments by one recruiter on one pair the server keeps the last, so resending a
    judgment is safe unless the recruiter has sent another in between.

    Parameters
    ----------
    serving, hub : base URLs, without ``/v1``
    timeout : seconds to wait for a response
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
        """Get the champion's reply to a question, or to a list of messages with ``role`` and ``content``.

        ``user`` is the product's id of the candidate; the server stores a pseudonym of it.
        """
        given = [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(message) for message in messages]
        metadata = None if conversation_id is None else {"conversation_id": conversation_id}
        body = {"model": model, "messages": given, "metadata": metadata, "user": user}
        answer = _request(
            self._serving, "POST", "/v1/chat/completions", body | {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        )
        return ChatReply(text=answer["choices"][0]["message"]["content"], version=answer["model"], **answer["feedbackloop"])

    def models(self) -> list[str]:
        """Names accepted as ``model`` by :meth:`chat`; the version that is serving comes first."""
        return [model["id"] for model in _request(self._serving, "GET", "/v1/models")["data"]]

    def add_pair(
        self,
        prompt: str | Sequence[Message],
        responses: tuple[str, str],
        *,
        versions: tuple[str, str] = ("product", "product"),
        conversation_id: str | None = None,
        pair_id: UUID | None = None,
        priority: int = 0,
        opinions: int | None = None,
    ) -> Pair:
        """Submit two of the product's own responses to one prompt for recruiters to judge.

        Pairs of a higher ``priority`` (0 to 9) are asked first. ``opinions`` is how many recruiters are asked; None for the server's
        setting.
        """
        given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(message) for message in prompt]
        body: dict[str, Any] = {
            "prompt": given,
            "responses": responses,
            "versions": versions,
            "conversation_id": conversation_id,
            "pair_id": pair_id,
        }
        body |= {"priority": priority, "opinions": opinions}
        return Pair.model_validate(_request(self._serving, "POST", "/v1/pairs", body))

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
        """Record a recruiter's judgment of a pair, overall or per objective; ``strength`` is 1 (negligible) to 4 (significant)."""
        fields = {"pair_id": pair_id, "recruiter": recruiter, "choice": choice, "objectives": dict(objectives or {}), "strength": strength}
        return self._feedback("comparison", fields | {"reason": reason, "shown_first": shown_first, "seconds": seconds})

    def rate(
        self,
        conversation_id: str,
        thumb: Literal["up", "down"],
        *,
        recruiter: str,
        reply_id: UUID | str | None = None,
        reason: str | None = None,
    ) -> Receipt:
        """Record a thumb on one reply of a conversation; on its last reply if ``reply_id`` is None."""
        fields = {"conversation_id": conversation_id, "thumb": thumb, "recruiter": recruiter, "reply_id": reply_id, "reason": reason}
        return self._feedback("thumb", fields)

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
        """Record a recruiter's rewrite of a reply, as a pair of both judged in favour of the rewrite."""
        given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(message) for message in prompt]
        fields = {"prompt": given, "original": original, "edited": edited, "recruiter": recruiter, "version": version}
        return self._feedback("edit", fields | {"conversation_id": conversation_id, "reason": reason})

    def record_groups(self, candidate: str, groups: Mapping[str, str]) -> OutcomeReceipt:
        """Record a candidate's groups by attribute, such as ``{"sex": "female", "race_ethnicity": "Asian"}``.

        ``candidate`` is the id given to :meth:`chat` as ``user``. The groups replace those recorded before; an empty mapping withdraws
        them. Only audits read them.
        """
        return self._outcomes({"candidate": candidate, "groups": dict(groups)})

    def record_outcome(
        self,
        candidate: str,
        *,
        position: str,
        stage: str,
        selected: bool,
        score: float | None = None,
        outcome_id: str | None = None,
        decided_at: datetime | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> OutcomeReceipt:
        """Record a decision about a candidate at a stage of a position, for the impact ratios.

        The same ``outcome_id`` sent again replaces the earlier record; by default there is one for each candidate, position and stage.
        ``decided_at`` needs a time zone; by default it is the time at which the server receives it.
        """
        when = None if decided_at is None else decided_at.isoformat()
        fields = {"position": position, "stage": stage, "selected": selected, "score": score, "outcome_id": outcome_id, "decided_at": when}
        outcome = {name: value for name, value in fields.items() if value is not None}
        return self._outcomes({"candidate": candidate, "groups": None if groups is None else dict(groups), "outcome": outcome})

    def status(self) -> dict[str, Any]:
        """Event counts per stage, reward model, retraining threshold and champion, as shown on the hub's overview page."""
        return dict(_request(self._hub, "GET", "/v1/status"))

    def runs(self) -> list[dict[str, Any]]:
        """The training runs, newest first."""
        return list(_request(self._hub, "GET", "/v1/runs")["runs"])

    def versions(self) -> dict[str, Any]:
        """The model versions with their gates and reviews, and the champion."""
        return dict(_request(self._hub, "GET", "/v1/versions"))

    def export(self) -> Iterator[dict[str, Any]]:
        """Stream the preference records in the format that training reads."""
        import json

        with self._hub.stream("GET", "/v1/export") as answer:
            if not answer.is_success:
                answer.read()
                raise _error(answer)
            for line in answer.iter_lines():
                if line:
                    yield json.loads(line)

    def _outcomes(self, body: Mapping[str, Any]) -> OutcomeReceipt:
        return OutcomeReceipt.model_validate(_request(self._serving, "POST", "/v1/outcomes", body))

    def _feedback(self, kind: str, fields: Mapping[str, Any]) -> Receipt:
        body = {"type": kind} | {name: value for name, value in fields.items() if value is not None}
        return Receipt.model_validate(_request(self._serving, "POST", "/v1/feedback", body))


def _client(url: str, timeout: float) -> httpx.Client:
    """Ignore proxies from the environment for loopback addresses."""
    return httpx.Client(base_url=url.rstrip("/"), timeout=timeout, trust_env=urlsplit(url).hostname not in LOOPBACK)


def _request(client: httpx.Client, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
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
        raise APIError(f"{answer.url} did not return JSON; check the address", status=answer.status_code) from error


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _error(answer: httpx.Response) -> APIError:
    wait = answer.headers.get("retry-after", "")
    try:
        body = _ErrorBody.model_validate(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        body = _ErrorBody(message=f"{answer.url} answered {answer.status_code}: {answer.text[:200]}")
    message = body.message + "".join(f"\n- {reason}" for reason in body.reasons)
    return APIError(
        message, status=answer.status_code, code=body.code, param=body.param, retry_after=float(wait) if wait.isdigit() else None
    )
