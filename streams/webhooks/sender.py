"""Sends one endpoint's deliveries in a thread of its own, so that an endpoint that is down holds up nothing else."""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from streams import metrics
from streams.webhooks.deliveries import Deliveries, Delivery
from streams.webhooks.signature import signed_headers

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds for each of connect, write and read
GONE = 410  # the receiver asks for no more attempts
IDLE = 60.0  # maximum seconds between two looks at the file
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Retrying:
    """When to try again, in seconds: after ``first``, then twice as long each time up to ``longest``, less up to half at random, so that
    receivers do not get all retries at once. Given up ``give_up_after`` seconds after the notice was made."""

    first: float = 5.0
    longest: float = 3600.0
    give_up_after: float = 86_400.0

    def delay(self, attempts: int, chance: float) -> float:
        """Seconds until the next attempt, after this many; ``chance`` is in [0, 1)."""
        return min(self.first * 2.0 ** min(attempts - 1, 60), self.longest) * (1 - chance / 2)


class Sender:
    """Attempts what waits for ``endpoint`` when it is due. At least once: a crash after an attempt repeats it, with the same id."""

    def __init__(
        self,
        endpoint: str,
        url: str,
        keys: Sequence[bytes],
        deliveries: Deliveries,
        retrying: Retrying = Retrying(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint, self._url, self._keys, self._deliveries = endpoint, url, keys, deliveries
        self._retrying, self._clock = retrying, clock
        self._host = urlsplit(url).hostname
        self._woken, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"webhooks-{endpoint}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Something was added."""
        self._woken.set()

    def stop(self) -> None:
        """Let the thread end after the attempt in flight."""
        self._stop.set()
        self._woken.set()

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended within ``timeout`` seconds after :meth:`stop`."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=self._host not in LOOPBACK) as client:
            while not self._stop.is_set():
                self._woken.clear()
                try:
                    self._woken.wait(self._step(client))
                except Exception:
                    log.exception("webhook endpoint %s: trying again", self._endpoint)
                    self._stop.wait(self._retrying.first)

    def _step(self, client: httpx.Client) -> float:
        """Attempt the delivery that is due; return the seconds to wait before the next step."""
        delivery = self._deliveries.next(self._endpoint)
        if delivery is None:
            return IDLE
        wait = min(delivery.due_at - self._clock(), self._retrying.longest)  # no longer, whatever the clock did
        if wait > 0:
            return min(wait, IDLE)
        problem, after = self._attempt(client, delivery)
        if problem is None:
            self._deliveries.finish(self._endpoint, delivery, "delivered")
            metrics.count_webhook(self._endpoint, "delivered")
            if delivery.attempts:
                log.info("webhook %s (%s) delivered to %s at attempt %d", delivery.id, delivery.kind, self._endpoint, delivery.attempts + 1)
            return 0.0
        metrics.count_webhook(self._endpoint, "failed")
        now = self._clock()
        delay = max(self._retrying.delay(delivery.attempts + 1, random.random()), min(after, self._retrying.longest))
        if problem == f"answered {GONE}" or now + delay > delivery.made_at + self._retrying.give_up_after:
            self._deliveries.finish(self._endpoint, delivery, "given up")
            metrics.count_webhook(self._endpoint, "given_up")
            what = f"webhook {delivery.id} ({delivery.kind})"
            log.error("%s given up after %d attempts: %s at %s %s", what, delivery.attempts + 1, self._endpoint, self._host, problem)
        else:
            self._deliveries.postpone(self._endpoint, delivery, now + delay)
            log.warning("webhook %s: %s at %s %s; next attempt in %.0f s", delivery.id, self._endpoint, self._host, problem, delay)
        return 0.0

    def _attempt(self, client: httpx.Client, delivery: Delivery) -> tuple[str | None, float]:
        """What went wrong, without the URL, which may hold a token; and the seconds that the receiver asks to wait."""
        headers = signed_headers(self._keys, delivery.id, int(self._clock()), delivery.body)
        try:
            with client.stream(
                "POST",
                self._url,
                content=delivery.body,
                headers=headers | {"content-type": "application/json", "user-agent": "FeedbackLoop"},
            ) as answer:  # the body of the answer is not read
                status, after = answer.status_code, answer.headers.get("retry-after", "")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"did not answer ({type(error).__name__})", 0.0
        return None if 200 <= status < 300 else f"answered {status}", float(after) if after.isascii() and after.isdigit() else 0.0
