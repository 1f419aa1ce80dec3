"""What the reward model knows and does not know, computed from its newest checkpoint when somebody asks."""

import threading
import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from storage.errors import ConfigurationError
from storage.events import Source, unpack
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Warehouse
from trainers.data.preference import Features, Preference
from trainers.reward.head_report import HeadReport, head_report
from trainers.reward.labels_saved import LabelsSaved, labels_saved
from trainers.reward.mixing import MixingSettings, mixture_of
from trainers.reward.online.head import Head

FRESH = 30.0  # seconds for which a report is shown although more has been learnt
LABELS_FRESH = 600.0  # seconds; the judgments saved take hundreds of fits, several seconds to half a minute
COMPARED = 2_000  # newest preferences on which the judgments saved are measured


class ObjectiveShare(BaseModel):
    """One objective of the mixture; ``spread`` is that of its reward differences, None where nobody has judged it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: str
    weight: float
    judgments: int
    spread: float | None


class RewardReading(BaseModel):
    """The report on the head, and its mixture.

    Attributes
    ----------
    not_mixed : why the objectives cannot be mixed; None where they can
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    head: HeadReport
    objectives: tuple[ObjectiveShare, ...]
    floored: str
    not_mixed: str | None


class RewardReadings:
    """Makes a reading of the head that ``newest_head`` returns, with its history; None while there is none."""

    def __init__(
        self,
        warehouse: Warehouse,
        newest_head: Callable[[], Head | None],
        mixing: MixingSettings,
        texts: Texts = PLAIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warehouse, self._newest_head, self._mixing, self._texts, self._clock = warehouse, newest_head, mixing, texts, clock
        self._lock, self._labels_lock = threading.Lock(), threading.Lock()  # one of each is made at a time
        self._made: tuple[float, RewardReading] | None = None
        self._labels: tuple[float, LabelsSaved] | None = None

    def take(self) -> RewardReading | None:
        """A reading that is at most half a minute old, or of everything learnt."""
        with self._lock:
            if self._made is not None and self._clock() - self._made[0] < FRESH:
                return self._made[1]
            head = self._learnt()
            if head is None:
                return None
            if self._made is None or self._made[1].head.sequence != head.sequence or self._made[1].head.head_id != head.head_id:
                self._made = self._clock(), self._reading(head)
            return self._made[1]

    def labels_saved(self) -> LabelsSaved | None:
        """What informative asking saves, at most ten minutes old."""
        with self._labels_lock:
            if self._labels is None or self._clock() - self._labels[0] >= LABELS_FRESH:
                head = self._learnt()
                if head is None:
                    return None
                self._labels = self._clock(), labels_saved(self._by_arm(head), head)
            return self._labels[1]

    def _learnt(self) -> Head | None:
        head = self._newest_head()
        return head if head is not None and len(head.history.rows()) else None

    def _reading(self, head: Head) -> RewardReading:
        report = head_report(head)
        not_mixed = None
        spreads: dict[str, float] = {}
        try:
            spreads = dict(mixture_of(head, self._mixing, head.history.differences()).spreads)
        except ConfigurationError as error:
            not_mixed = str(error)
        judged = {each.question: each.judgments for each in report.questions}
        shares = [
            ObjectiveShare(objective=name, weight=weight, judgments=judged.get(name, 0), spread=spreads.get(name))
            for name, weight in self._mixing.weights.items()
        ]
        return RewardReading(head=report, objectives=tuple(shares), floored=self._mixing.floored, not_mixed=not_mixed)

    def _by_arm(self, head: Head) -> Sequence[tuple[Preference, str]]:
        """The newest preferences with features of the head's embedding and their arms, oldest first."""
        sources: list[Source] = list(head.sources)
        rows = self._texts.table(self._warehouse.query("preferences_by_arm", {"sources": sources, "limit": COMPARED})).to_pylist()
        return [
            (
                Preference(
                    prompt=(),
                    a="",
                    b="",
                    choice=row["choice"],
                    stratum=row["stratum"],
                    conversation_id=row["conversation_id"],
                    strength=row["strength"],
                    recruiter=row["recruiter"],
                    shown_first=row["shown_first"],
                    source=row["source"],
                    features=Features(row["embedding_hash"], unpack(row["a"]), unpack(row["b"])),
                ),
                row["arm"],
            )
            for row in reversed(rows)
            if row["embedding_hash"] == head.embedding_hash
        ]
