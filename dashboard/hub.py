"""The hub process, sole owner of the warehouse: sink, freeze and promotion in threads, API and pages on one ASGI server."""

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType

import pyarrow as pa
import uvicorn
from fastapi import FastAPI

from access.caller import caller_of, needs
from access.control import AccessControl
from access.guard import AccessGuard
from access.own import own_client
from access.people.routes import sign_in_router
from access.people.store import FILE as PEOPLE
from access.people.store import PeopleStore
from access.settings import AccessSettings
from access.widget.elsewhere import PATHS, WidgetPreflights
from access.widget.script import PATH as WIDGET
from access.widget.script import widget_router
from dashboard.actions.chat import CHAT_TIMEOUT, ChatDesk
from dashboard.actions.erasures import Erasures
from dashboard.actions.exports import Exporter
from dashboard.actions.manual_runs import ManualRuns
from dashboard.actions.ranking import Ranking
from dashboard.actions.rating_queue import RatingQueue
from dashboard.actions.records import Records
from dashboard.actions.reviews import Reviews, check_reviewer_key
from dashboard.actions.verification import verified
from dashboard.api import add_routes, new_app
from dashboard.pages.page import Parts
from dashboard.pages.site import content_policy, mount
from dashboard.routes.parts import Services
from dashboard.settings import HubSettings
from dashboard.status.feed import ReadingFeed
from dashboard.status.integrity import IntegrityReadings
from dashboard.status.log_lag import LogLag
from dashboard.status.people import PeopleReadings
from dashboard.status.readings import Readings, Sources, fold_versions
from dashboard.status.reward import RewardReadings
from dashboard.status.run_texts import RunTexts
from dashboard.status.serving_version import ServingVersion, has_upstream
from storage.artifacts import Artifacts
from storage.attestation.settings import AttestationSettings
from storage.events import JudgmentGiven
from storage.home import open_home
from storage.settings import Settings
from storage.texts.texts import Texts
from storage.warehouse.warehouse import Applied, Warehouse
from streams.asking import AskingSettings
from streams.bus.open import bus_of, outlet_and_keys
from streams.bus.topics import TOPICS
from streams.current_head import CurrentHead
from streams.evaluations import RunArtifacts
from streams.health import health_router, listen, metrics_router
from streams.http.request_guard import RequestGuard
from streams.http.server import server_config
from streams.http.visible_text import without_paths
from streams.hub import HubStreams
from streams.intake import Intake
from streams.privacy.redaction import Redactor
from streams.privacy.sealing import sealer_of
from streams.privacy.settings import PrivacySettings
from streams.pseudonyms import pseudonym_key
from streams.settings import FeedbackCaps
from streams.stations.retention_settings import RetentionSettings
from streams.stations.runner import failure_of, stop_on_signals
from streams.stations.settings import RetrainingRule
from streams.stations.trigger import RunPlan
from streams.versions import Versions
from streams.webhooks.settings import WebhookSettings
from trainers.audits.outcomes.tables import outcomes_table
from trainers.reward.mixing import MixingSettings
from trainers.reward.online.settings import HeadSettings
from trainers.runs.terms import ReviewRule

log = logging.getLogger(__name__)

LOCK_TIMEOUT = 10.0  # seconds to wait for the warehouse's lock: a previous hub that is told to stop takes eight at most
SHUTDOWN_GRACE = 1  # seconds for requests in flight when the process is told to stop; pages reconnect by themselves


class Hub:
    """Everything the process holds, opened and closed together; ``app`` is the ASGI app."""

    def __init__(self, settings: Settings) -> None:
        own = settings.section("hub", HubSettings)
        rule = settings.section("retraining", RetrainingRule)
        review = settings.section("review", ReviewRule)
        asking = settings.section("asking", AskingSettings)
        common = settings.common
        pa.array([None])  # pyarrow imports pandas with its first array, which takes a second or more: do it before the first judgment
        open_home(common.home)
        self.failure: BaseException | None = None
        self.failed = threading.Event()
        self.bus = bus_of(settings)
        self.outlet, self.keys = outlet_and_keys(settings, self.bus, "hub")
        self.people = PeopleStore(common.home / PEOPLE)
        self.access = AccessControl.of(settings, "hub", self.bus, self.outlet, own.path_prefix, self.people)
        self.warehouse = Warehouse.open(
            common.home / "warehouse.duckdb", memory_limit=own.memory_limit, threads=own.threads, patience=LOCK_TIMEOUT
        )
        artifacts = Artifacts(common.artifacts_url)
        attestation = settings.section("attestation", AttestationSettings)
        webhooks = settings.section("webhooks", WebhookSettings)
        texts = Texts(self.keys)
        retention = settings.section("retention", RetentionSettings)
        self.streams = HubStreams(self.bus, self.warehouse, artifacts, common.home, attestation, webhooks, texts, retention)
        run_artifacts = RunArtifacts(artifacts)
        connect = partial(own_client, settings, "hub", "serving", url=own.serving_url)
        has_version = own.serving_url or not has_upstream(settings)
        self.serving = ServingVersion(connect if has_version else None, self._wake_pages)
        self.readings = Readings(
            Sources(
                self.warehouse,
                LogLag(self._lag),
                self._problems,
                rule.every,
                run_artifacts,
                lambda: self.serving.version,
                own.opinions,
                lambda: self.streams.coordinator.waiting,
                self.people.name_of,
                texts,
            )
        )
        self.live = ReadingFeed(self.readings.take)
        heads = CurrentHead.of(settings, self.bus)
        self.ranking = Ranking(self.warehouse, self.readings.outstanding, heads.newest, asking, texts)
        self.queue = RatingQueue(self.warehouse, self.readings.outstanding, self.ranking, texts)
        self.streams.listeners.append(self._on_commit)
        self.streams.coordinator.on_waiting = self._wake_pages

        def folded() -> Versions:
            return fold_versions(self.warehouse, run_artifacts)[0]

        reviews = Reviews(self.bus, folded, artifacts, check_reviewer_key(attestation.reviewer_key))
        manual_runs = ManualRuns(self.bus, self.warehouse, lambda method: RunPlan.of(settings, method, artifacts), named=review.four_eyes)
        self.chat = ChatDesk(partial(connect, timeout=CHAT_TIMEOUT), lambda: self.live.reading.versions, common.model)
        services = Services(
            live=self.live,
            queue=self.queue,
            access=self.access,
            objectives=settings.section("learning", HeadSettings).objectives,
            intake=Intake(
                self.outlet,
                pseudonym_key(common),
                settings.section("feedback", FeedbackCaps),
                asking,
                Redactor(settings.section("privacy", PrivacySettings)),
                sealer_of(settings, self.keys),
            ),
            reviews=reviews,
            run_texts=RunTexts(artifacts, texts, reviews),
            records=Records(folded, artifacts),
            artifacts=artifacts,
            public_keys=self.streams.attestor.keys.published,
            exporter=Exporter(self.warehouse, texts),
            verify=lambda deep: verified(self.bus, self.warehouse, artifacts, settings, texts, deep=deep),
            manual_runs=manual_runs,
            impact_ratios=partial(outcomes_table, self.warehouse, texts),
            ranker=lambda: self.serving.ranker,
            chat=self.chat,
            people=PeopleReadings(lambda: self.access.state, self.people, self.warehouse),
            integrity=IntegrityReadings(self.warehouse).take,
            erasures=Erasures(
                self.bus,
                self.warehouse,
                artifacts,
                pseudonym_key(common),
                settings.section("learning", HeadSettings),
                lambda: self.streams.erasure.settled,
                self.keys.lingers,
            ),
            reward=RewardReadings(self.warehouse, partial(heads.newest, history=True), settings.section("reward", MixingSettings), texts),
        )
        self.app = create_app(services, self.streams, self._fail, self.access, (*common.allowed_hosts, own.host), own.path_prefix)

    def __enter__(self) -> "Hub":
        self.access.start()
        self.serving.start()
        self.ranking.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.access.stop()
        self.serving.stop()
        self.ranking.stop()
        self.chat.close()
        if not self.streams.stop():
            log.warning("a consumer did not finish its step in time; uncommitted entries are read again at the next start")
        self.warehouse.close()
        if self.outlet is not self.bus:
            self.outlet.close()
        self.keys.close()
        self.bus.close()

    def _on_commit(self, applied: Applied) -> None:
        self.readings.note(applied)
        for event in applied.stored:
            if isinstance(event, JudgmentGiven):  # accepted here or by serving
                self.queue.judged(event.recruiter, str(event.pair_id), opinion=event.choice != "skip")
        self.live.wake()

    def _wake_pages(self) -> None:
        self.live.wake()

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self.failed.set()

    def _problems(self) -> list[str]:
        reasons = [*(check() for check in self.streams.checks.values()), self.streams.erasure.problem]
        return [without_paths(reason) for reason in reasons if reason is not None]

    def _lag(self) -> dict[str, int]:
        offsets = self.warehouse.offsets()
        behind = dict.fromkeys(TOPICS, 0)
        for (topic, number), (first, following) in self.bus.bounds(list(TOPICS)).items():
            behind[topic] += following - 1 - offsets.get((topic, number), first - 1)
        return behind


def create_app(
    services: Services,
    streams: HubStreams,
    fail: Callable[[BaseException], None],
    access: AccessControl,
    allowed_hosts: Sequence[str] = (),
    path_prefix: str = "",
) -> FastAPI:
    """API, health checks and pages on one app, which takes readings while it runs.

    Parameters
    ----------
    fail : called with the exception that ended the reading task
    access : who may call
    allowed_hosts : host names besides loopback that requests may use
    path_prefix : path under which a reverse proxy publishes the pages
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        reading_task = asyncio.create_task(services.live.run(), name="readings")
        reading_task.add_done_callback(lambda task: None if task.cancelled() or task.exception() is None else fail(task.exception()))  # type: ignore[arg-type]
        try:
            yield
        finally:
            reading_task.cancel()
            await asyncio.gather(reading_task, return_exceptions=True)

    app = new_app(lifespan=lifespan)
    checks = {**streams.checks, **access.checks}
    app.include_router(health_router(checks, lambda request: caller_of(request).may("read")))
    app.include_router(metrics_router(), dependencies=[needs("read")])
    app.include_router(widget_router())
    if access.sign_in is not None:
        app.include_router(sign_in_router(access.sign_in, access.path_prefix))
    add_routes(app, services)

    parts = Parts(
        services.live,
        services.reviews,
        services.run_texts.report,
        services.impact_ratios,
        services.reward,
        services.ranker,
        services.run_texts.replies,
        services.people,
        services.integrity,
    )
    pages = mount(app, parts, path_prefix)
    policy = content_policy(pages)
    app.add_middleware(AccessGuard, access=access)
    app.add_middleware(WidgetPreflights, origins=access.tokens.origins)
    app.add_middleware(
        RequestGuard,
        allowed_hosts=allowed_hosts,
        page_policy=policy,
        scripts=[WIDGET],
        origins_of_paths=dict.fromkeys(PATHS, access.tokens.origins),
    )
    return app


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    ConfigurationError
        A setting is wrong or the address cannot be used.
    WarehouseError
        Another hub holds the warehouse.
    FeedbackLoopError
        A thread failed and cannot continue in this process; the supervisor restarts the hub.
    """
    own = settings.section("hub", HubSettings)
    stop = stop_on_signals()
    access = AccessSettings.of(settings, own.path_prefix)
    address = listen(own.host, own.port, exposed=access.exposed)
    with Hub(settings) as hub:
        server = Server(hub, **access.tls)
        threading.Thread(target=_stop_server_on, args=(server, [stop, hub.streams.crashed, hub.failed]), name="end", daemon=True).start()
        hub.streams.start()
        log.info("hub on %s, port %d", *address.getsockname()[:2])
        server.run(sockets=[address])
        if hub.failure is not None:
            raise failure_of("the hub's readings", hub.failure)
        if hub.streams.failure is not None:
            raise hub.streams.failure


class Server(uvicorn.Server):
    """Serves a hub; on shutdown it closes the endless streams before waiting for other requests."""

    def __init__(self, hub: Hub, **tls: str) -> None:
        super().__init__(server_config(hub.app, timeout_graceful_shutdown=SHUTDOWN_GRACE, **tls))
        self._live = hub.live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._live.close()
        await super().shutdown(sockets)


def _stop_server_on(server: uvicorn.Server, ends: Sequence[threading.Event]) -> None:
    """Tell the server to stop as soon as one of the events is set."""
    while not any(event.is_set() for event in ends):
        ends[0].wait(0.25)
    server.should_exit = True
