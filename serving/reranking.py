"""Ranks texts by a reward model: ``POST /v1/rerank``, in the shape that Cohere, Jina and Open WebUI share.

The model is loaded in the background, as the language model is. One that has not passed its checks ranks nothing, and says why.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.models.backend import NotReady
from storage.errors import ConfigurationError, FeedbackLoopError
from storage.events import Message, new_id
from storage.settings import Settings
from streams.http.visible_text import without_paths

if TYPE_CHECKING:
    from trainers.reward.model import Ranked, RewardModel

log = logging.getLogger(__name__)

MODEL = "reward"  # the model's name in requests


class MayNotRank(FeedbackLoopError):
    """No reward model is configured, or the one that is has not passed its checks."""


class Reranker:
    """The reward model in ``folder``, trained with the settings' features; without a folder it refuses to rank.

    Raises
    ------
    ConfigurationError
        The folder does not exist.
    """

    def __init__(self, folder: Path | None, settings: Settings | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise ConfigurationError(f"[serving] reward_model: {folder}: there is no such folder; give one that `feedbackloop train` wrote")
        self._folder, self._settings = folder, settings
        self._lock = threading.Lock()  # one request at a time: each uses the threads it may have
        self._model: RewardModel | None = None
        self._kind: str | None = None
        self._refusal: str | None = "no reward model is configured: set [serving] reward_model to the folder of one" if not folder else None

    def start(self) -> None:
        """Load the model in the background."""
        if self._folder is not None:
            threading.Thread(target=self._loaded, args=(self._folder,), name="reranker", daemon=True).start()

    def _loaded(self, folder: Path) -> None:
        try:
            from trainers.reward.checks import refusal
            from trainers.reward.model import RewardModel
            from trainers.reward.validation import read_report

            report = read_report(folder)
            if (why := refusal(report.checks if report is not None else ())) is not None:
                self._refusal = f"the reward model may not rank: {why}"
                log.warning("%s: %s", folder, self._refusal)
                return
            self._model = RewardModel.load(folder, self._settings)
            self._kind = report.kind if report is not None else None
        except FeedbackLoopError as error:
            self._refusal = without_paths(str(error))
            log.error("reranking is off: %s", error)
        except Exception:
            self._refusal = "the reward model could not be loaded; the log of serving says why"
            log.exception("reranking is off")

    def best(self, prompt: Sequence[Message], replies: Sequence[str]) -> int:
        """The place of the best reply to the prompt; raises as :meth:`rank`."""
        return self.rank(prompt, replies, 1)[0].index

    def state(self) -> dict[str, str | None]:
        """Whether a model ranks: ``status`` is ready, loading or off; with its kind, or the reason why not."""
        status = "off" if self._refusal is not None else "loading" if self._model is None else "ready"
        return {"model": MODEL, "status": status, "kind": self._kind, "reason": self._refusal}

    @property
    def refusal(self) -> str | None:
        """Why nothing is ranked; None where a model ranks or is being loaded."""
        return self._refusal

    def rank(self, query: str | Sequence[Message], documents: Sequence[str], top_n: int | None) -> "list[Ranked]":
        """The documents as replies to the query, or to a conversation, the best first.

        Raises
        ------
        MayNotRank
            No model is configured, or it has not passed its checks.
        NotReady
            It is being loaded.
        InputRefused
            A document is empty, or too long for the model.
        """
        if self._refusal is not None:
            raise MayNotRank(self._refusal)
        if self._model is None:
            raise NotReady("the reward model is being loaded")
        with self._lock:
            return self._model.rerank(query, documents, top_n)


def body_of(ranked: "Sequence[Ranked]", documents: Sequence[str], return_documents: bool) -> dict[str, Any]:
    """The response: indices into the request's documents, with their relevance in (0, 1)."""
    results = []
    for each in ranked:
        result: dict[str, Any] = {"index": each.index, "relevance_score": each.relevance_score}
        if return_documents:
            result["document"] = {"text": documents[each.index]}
        results.append(result)
    return {"id": f"rerank-{new_id().hex}", "model": MODEL, "results": results}
