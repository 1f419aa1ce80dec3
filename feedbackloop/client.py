"""HTTP client for a running loop: chat, feedback on replies, and the hub's status. Needs only httpx and pydantic, not the server."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from pydantic import BaseModel, ConfigDict, Field

from feedbackloop.receipts import BulkReceipt, OutcomeReceipt, Pair, Receipt

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


class _ErrorBody(BaseModel):
    """Error body of serving and of the hub."""

    message: str
    code: str | None = None
    param: str | None = None
    reasons: list[str] = Field(default_factory=list)


class Client:
    """Client for serving and the hub.

    Every method may raise :class:`APIError`. Of several judgments by one recruiter on one pair, and of several thumbs and scores of one
    reply, the last holds. With the same ``idempotency_key`` (such as a UUID) a request may be sent again after a failure and is recorded
    once.

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
        idempotency_key: UUID | str | None = None,
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
        return Pair.model_validate(_request(self._serving, "POST", "/v1/pairs", body, idempotency_key))

    def judge(
        self,
        pair_id: UUID | str | None = None,
        *,
        recruiter: str,
        reply_id: UUID | str | None = None,
        choice: Choice | None = None,
        objectives: Mapping[str, Choice] | None = None,
        strength: int | None = None,
        reason: str | None = None,
        shown_first: Literal["A", "B"] | None = None,
        seconds: float | None = None,
        idempotency_key: UUID | str | None = None,
    ) -> Receipt:
        """Record a recruiter's judgment of a pair, overall or per objective; ``strength`` is 1 (negligible) to 4 (significant).

        ``reply_id`` in place of ``pair_id`` names the pair that was drawn for a reply.
        """
        fields: dict[str, Any] = {"pair_id": pair_id, "reply_id": reply_id, "recruiter": recruiter, "choice": choice, "strength": strength}
        fields |= {"objectives": dict(objectives or {}), "reason": reason, "shown_first": shown_first, "seconds": seconds}
        return self._feedback("comparison", fields, idempotency_key)

    def rate(
        self,
        conversation_id: str | None,
        thumb: Literal["up", "down"],
        *,
        recruiter: str,
        reply_id: UUID | str | None = None,
        reason: str | None = None,
        idempotency_key: UUID | str | None = None,
    ) -> Receipt:
        """Record a thumb on one reply; on the last one of its conversation if ``reply_id`` is None."""
        fields = {"conversation_id": conversation_id, "thumb": thumb, "recruiter": recruiter, "reply_id": reply_id, "reason": reason}
        return self._feedback("thumb", fields, idempotency_key)

    def score(
        self,
        score: float,
        scale: tuple[float, float],
        *,
        recruiter: str,
        reply_id: UUID | str | None = None,
        conversation_id: str | None = None,
        reason: str | None = None,
        idempotency_key: UUID | str | None = None,
    ) -> Receipt:
        """Record a score of one reply, or of a conversation's last one; ``scale`` is the lowest and the highest score, such as ``(1, 5)``.

        Above the middle of the scale it counts as a thumb up, below as a thumb down.
        """
        fields = {"score": score, "scale": list(scale), "recruiter": recruiter, "reply_id": reply_id}
        return self._feedback("score", fields | {"conversation_id": conversation_id, "reason": reason}, idempotency_key)

    def comment(
        self,
        comment: str,
        *,
        recruiter: str,
        reply_id: UUID | str | None = None,
        conversation_id: str | None = None,
        idempotency_key: UUID | str | None = None,
    ) -> Receipt:
        """Record free text about one reply, or about a conversation's last one. It teaches nothing."""
        fields = {"comment": comment, "recruiter": recruiter, "reply_id": reply_id, "conversation_id": conversation_id}
        return self._feedback("comment", fields, idempotency_key)

    def withdraw(
        self,
        *,
        recruiter: str,
        pair_id: UUID | str | None = None,
        reply_id: UUID | str | None = None,
        conversation_id: str | None = None,
        reason: str | None = None,
        idempotency_key: UUID | str | None = None,
    ) -> Receipt:
        """Withdraw what a recruiter has said of a pair or of a reply. A rewrite is withdrawn by the ``pair_id`` of its receipt."""
        fields = {"recruiter": recruiter, "pair_id": pair_id, "reply_id": reply_id, "conversation_id": conversation_id, "reason": reason}
        return self._feedback("withdrawal", fields, idempotency_key)

    def bulk(self, items: Sequence[Mapping[str, Any]], *, idempotency_key: UUID | str | None = None) -> BulkReceipt:
        """Record up to 1,000 items of feedback in one commit, each with the fields of ``POST /v1/feedback``, and ``type`` among them.

        Some may be refused while the others are recorded: look at ``refused``.
        """
        plain = [{name: _plain(value) for name, value in item.items()} for item in items]
        return BulkReceipt.model_validate(_request(self._serving, "POST", "/v1/feedback/bulk", {"items": plain}, idempotency_key))

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
        idempotency_key: UUID | str | None = None,
    ) -> Receipt:
        """Record a recruiter's rewrite of a reply, as a pair of both judged in favour of the rewrite."""
        given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(message) for message in prompt]
        fields = {"prompt": given, "original": original, "edited": edited, "recruiter": recruiter, "version": version}
        return self._feedback("edit", fields | {"conversation_id": conversation_id, "reason": reason}, idempotency_key)

    def rewrite(
        self,
        edited: str,
        *,
        recruiter: str,
        reply_id: UUID | str | None = None,
        conversation_id: str | None = None,
        pair_id: UUID | str | None = None,
        side: Literal["A", "B"] | None = None,
        reason: str | None = None,
        idempotency_key: UUID | str | None = None,
    ) -> Receipt:
        """As :meth:`edit`, of a response that the server knows: a reply, a conversation's last one, or a side of a pair."""
        fields = {"edited": edited, "recruiter": recruiter, "reply_id": reply_id, "conversation_id": conversation_id}
        return self._feedback("edit", fields | {"pair_id": pair_id, "side": side, "reason": reason}, idempotency_key)

    def record_groups(self, candidate: str, groups: Mapping[str, str], *, idempotency_key: UUID | str | None = None) -> OutcomeReceipt:
        """Record a candidate's groups by attribute, such as ``{"sex": "female", "race_ethnicity": "Asian"}``.

        ``candidate`` is the id given to :meth:`chat` as ``user``. The groups replace those recorded before; an empty mapping withdraws
        them. Only audits read them.
        """
        return self._outcomes({"candidate": candidate, "groups": dict(groups)}, idempotency_key)

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
        idempotency_key: UUID | str | None = None,
    ) -> OutcomeReceipt:
        """Record a decision about a candidate at a stage of a position, for the impact ratios.

        The same ``outcome_id`` sent again replaces the earlier record; by default there is one for each candidate, position and stage.
        ``decided_at`` needs a time zone; by default it is the time at which the server receives it.
        """
        when = None if decided_at is None else decided_at.isoformat()
        fields = {"position": position, "stage": stage, "selected": selected, "score": score, "outcome_id": outcome_id, "decided_at": when}
        outcome = {name: value for name, value in fields.items() if value is not None}
        body = {"candidate": candidate, "groups": None if groups is None else dict(groups), "outcome": outcome}
        return self._outcomes(body, idempotency_key)

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

    def _outcomes(self, body: Mapping[str, Any], key: UUID | str | None) -> OutcomeReceipt:
        return OutcomeReceipt.model_validate(_request(self._serving, "POST", "/v1/outcomes", body, key))

    def _feedback(self, kind: str, fields: Mapping[str, Any], key: UUID | str | None) -> Receipt:
        return Receipt.model_validate(_request(self._serving, "POST", "/v1/feedback", {"type": kind} | dict(fields), key))


def _client(url: str, timeout: float) -> httpx.Client:
    """Ignore proxies from the environment for loopback addresses."""
    return httpx.Client(base_url=url.rstrip("/"), timeout=timeout, trust_env=urlsplit(url).hostname not in LOOPBACK)


def _request(
    client: httpx.Client, method: str, path: str, body: Mapping[str, Any] | None = None, idempotency_key: UUID | str | None = None
) -> Any:
    sent = None if body is None else {name: _plain(value) for name, value in body.items() if value is not None}
    headers = {} if idempotency_key is None else {"Idempotency-Key": str(idempotency_key)}
    try:
        answer = client.request(method, path, json=sent, headers=headers)
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
