"""Which open pairs would tell the reward model most, computed in the background from the newest checkpoint of the online head."""

import logging
import threading
import time
from collections.abc import Callable

import numpy as np

from dashboard.status.backlog import Outstanding
from storage.errors import FeedbackLoopError
from storage.events import unpack
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Warehouse
from streams.asking import AskingSettings
from trainers.reward.asking import most_informative
from trainers.reward.online.head import Head

log = logging.getLogger(__name__)

WINDOW = 20_000  # newest pairs among which open ones are looked for
CHOSEN = 50  # pairs ranked at a time; more are outdated before they are asked
PAUSE_FACTOR = 10.0  # pause this many times the computing time: at most a tenth of a core
LEAST_PAUSE = 1.0  # seconds


class Ranking:
    """Pairs in the order in which to ask about them. :meth:`newest` asks for a fresh ranking and returns the last.

    Parameters
    ----------
    head : returns the newest head, without its history; None while there is none
    """

    def __init__(
        self,
        warehouse: Warehouse,
        outstanding: Outstanding,
        head: Callable[[], Head | None],
        settings: AskingSettings,
        texts: Texts = PLAIN,
    ) -> None:
        self._warehouse, self._outstanding, self._head, self._settings, self._texts = warehouse, outstanding, head, settings, texts
        self.share = settings.informative_share
        self._ranked: list[str] = []
        self._wanted, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="ranking", daemon=True)

    def start(self) -> None:
        if self.share > 0:
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait for it: it reads the warehouse."""
        self._stop.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def newest(self) -> list[str]:
        """Pair ids, the most informative first; empty until a head has been learnt."""
        self._wanted.set()  # while nobody rates, nothing is computed
        return self._ranked

    def refresh(self) -> None:
        """Rank the pairs that are open now."""
        head = self._head()
        if head is None or not head.judgments_seen:
            return
        asked = {
            "embedding_hash": head.embedding_hash,
            "opinions": self._outstanding.opinions,
            "limit": self._settings.ranked,
            "window": WINDOW,
        }
        rows = self._texts.table(self._warehouse.query("pairs_to_rank", asked)).to_pylist()
        if not rows:
            self._ranked = []
            return
        differences = np.array([unpack(row["a"]) - unpack(row["b"]) for row in rows])
        self._ranked = [str(rows[i]["pair_id"]) for i in most_informative(head, differences, CHOSEN)]

    def _follow(self) -> None:
        while not self._stop.is_set():
            self._wanted.wait()
            self._wanted.clear()
            if self._stop.is_set():
                return
            started = time.monotonic()
            try:
                self.refresh()
            except FeedbackLoopError as error:
                log.warning("pairs are asked newest first: %s", error)
                self._ranked = []
            except Exception:
                log.exception("pairs are asked newest first")
                self._ranked = []
            self._stop.wait(max(LEAST_PAUSE, PAUSE_FACTOR * (time.monotonic() - started)))
