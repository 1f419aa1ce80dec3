"""Talks to the serving process for the page *Chat*: two replies to one conversation, and what the reward model thinks of them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from dashboard.actions.reviews import NotFound
from dashboard.status.models import Shown, Versions
from storage.errors import AttestationError, FeedbackLoopError, InputRefused, Overloaded, UpstreamError
from streams.http.visible_text import without_paths

CHAT_TIMEOUT = 90.0  # seconds for two replies
SHIPPED = (
    "The base model is the shipped one: about a million parameters, trained on simulated dialogues. It answers questions about an "
    "application from the facts in its instructions, and nothing else."
)
NO_MODELS = ("champion", "feedbackloop", "unlogged", "all-MiniLM-L6-v2")  # names that serving lists beside its versions


class ServedModel(Shown):
    """A version that answers, and what it is in a sentence or two."""

    name: str
    about: str


class Opinion(Shown):
    """The reward model's estimate for a reply in logits, with its standard deviation."""

    reward: float
    deviation: float


class TwoReplies(Shown):
    """The replies of a version, and the pair that they make; without a pair they are alike, or there is only one."""

    version: str
    replies: tuple[str, ...]
    pair_id: str | None
    opinions: tuple[Opinion, ...] = ()
    first_is_better: float | None = None  # the probability


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")

    message: dict[str, Any]


class _Completion(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str
    choices: tuple[_Choice, ...]
    feedbackloop: dict[str, str | None]


class _Rewards(BaseModel):
    model_config = ConfigDict(extra="ignore")

    rewards: tuple[Opinion, ...]
    first_is_better: float | None


class ChatDesk:
    """Calls the serving process.

    Parameters
    ----------
    connect : returns a client for it; called once, at the first call
    versions : returns the reading of the pages
    model : the setting of that name
    """

    def __init__(self, connect: Callable[[], httpx.Client], versions: Callable[[], Versions], model: str) -> None:
        self._connect, self._versions, self._model = connect, versions, model
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def models(self) -> list[ServedModel]:
        """The versions that answer now, the champion first."""
        listed = self._call("GET", "/v1/models", None)["data"]
        return [ServedModel(name=each["id"], about=self._about(each["id"])) for each in listed if each["id"] not in NO_MODELS]

    def ask(self, model: str, messages: Sequence[Mapping[str, str]]) -> TwoReplies:
        """Two replies of a version to a conversation; they are logged, and become a pair that can be judged.

        Raises
        ------
        InputRefused
            Serving refuses the conversation.
        NotFound
            It does not serve the model.
        Overloaded, UpstreamError
            Serving is busy, is not there, or has failed.
        """
        asked = {"model": model, "messages": list(messages), "n": 2}
        found = self._parsed(_Completion, self._call("POST", "/v1/chat/completions", asked))
        replies = tuple(str(choice.message.get("content") or "") for choice in found.choices)
        shown = TwoReplies(version=found.model, replies=replies, pair_id=found.feedbackloop.get("pair_id") if len(replies) > 1 else None)
        if not all(reply.strip() for reply in replies):
            return shown
        try:
            rewards = self._parsed(_Rewards, self._call("POST", "/v1/reward", {"messages": list(messages), "responses": list(replies)}))
        except FeedbackLoopError:  # it has not learnt yet
            return shown
        return shown.model_copy(update={"opinions": rewards.rewards, "first_is_better": rewards.first_is_better})

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _about(self, version: str) -> str:
        reading = self._versions()
        known = next((each for each in reading.versions if each.version == version), None)
        base = SHIPPED if self._model == "shipped" else f"The base model is {self._model}."
        if known is None:
            return f"The base model, before any training on judgments. {base}" if version == "base" else f"The upstream's model {version}."
        judges = "simulated recruiters" if known.simulated else "recruiters"
        return f"Trained on the judgments of {judges}; its status is {known.status!r}. {base}"

    def _call(self, method: str, path: str, body: Any) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
        try:
            answer = self._client.request(method, path, json=body)
        except AttestationError as error:
            raise UpstreamError(f"the hub cannot sign its request to serving: {without_paths(str(error))}") from error
        except httpx.HTTPError as error:
            raise UpstreamError(
                f"the serving process does not answer ({type(error).__name__}); start it with `feedbackloop serving`"
            ) from error
        if answer.is_success:
            return answer.json()
        message = _message(answer)
        if answer.status_code in (429, 503):
            raise Overloaded(f"serving: {message}", retry_after=int(answer.headers.get("retry-after", "5")))
        if answer.status_code == 404:
            raise NotFound(f"serving: {message}")
        if answer.status_code < 500:
            raise InputRefused(f"serving: {message}", "messages")
        raise UpstreamError(f"serving: {message}")

    def _parsed(self, shape: type[Any], body: Any) -> Any:
        try:
            return shape.model_validate(body)
        except ValidationError as error:
            raise UpstreamError("serving answers in another form than this hub knows; update both") from error


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"it answered {answer.status_code}"
