"""The serving process: wires backend, intake, pairing and routes into one app.

Started as ``feedbackloop serving``. The socket is bound first and the model is loaded in the background, so that a port in use, a missing
model or a non-loopback host fails fast, and ``/readyz`` says what the process is waiting for.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from access.caller import caller_of, needs
from access.control import AccessControl
from access.guard import AccessGuard
from access.settings import AccessSettings
from access.widget.elsewhere import PATHS, WidgetPreflights
from access.widget.script import PATH as WIDGET
from access.widget.script import widget_router
from serving.api import add_routes, new_app
from serving.duel import CurrentDuel, Duel
from serving.models.backend import Backend
from serving.models.generation import Options
from serving.models.local import ChallengerModel, LocalBackend
from serving.models.table import upstream
from serving.models.upstream_settings import SecondUpstreamSettings, UpstreamSettings
from serving.online_reward import OnlineReward
from serving.openai.exchange import Service
from serving.pairing import Pairing, PairingRule
from serving.promotion import Challenger, Promotions
from serving.reranking import Reranker
from serving.responses import EXPOSED_HEADERS
from serving.safety.safety import Safety
from serving.second_choice import SecondChoice
from serving.settings import ServingSettings
from storage.artifacts import Artifacts
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.errors import ConfigurationError
from storage.home import open_home
from storage.settings import Settings
from streams import metrics
from streams.asking import AskingSettings
from streams.attestation.admission import Admission
from streams.bus.open import bus_of, outlet_and_keys
from streams.bus.protocol import Bus
from streams.current_head import CurrentHead
from streams.health import health_router, listen, metrics_router
from streams.http.request_guard import RequestGuard
from streams.http.server import server_config
from streams.intake import Intake
from streams.privacy.redaction import Redactor
from streams.privacy.sealing import sealer_of
from streams.privacy.settings import PrivacySettings
from streams.pseudonyms import pseudonym_key
from streams.settings import FeedbackCaps
from trainers.features.settings import FeatureSettings
from trainers.models.references import base_hash

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 2  # seconds for responses in flight to finish
PAIRING_SHUTDOWN_TIMEOUT = 1.0  # seconds for second responses in flight, after that


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises
    ------
    ConfigurationError
        The host, port, model or upstream URL is not usable.
    """
    section = settings.section("serving", ServingSettings)
    access = AccessSettings.of(settings)
    socket = listen(section.host, section.port, exposed=access.exposed)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    fatal: list[ConfigurationError] = []

    def give_up(error: ConfigurationError) -> None:
        fatal.append(error)
        server.should_exit = True

    try:
        app = create_app(settings, give_up=give_up)
        server = _Server(server_config(app, timeout_graceful_shutdown=SHUTDOWN_TIMEOUT, **access.tls))
        for number in before:
            signal.signal(number, server.handle_exit)
        log.info("serving on %s, port %d", *socket.getsockname()[:2])
        server.run(sockets=[socket])
    finally:
        socket.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    if fatal:
        raise fatal[0]


def create_app(settings: Settings, *, bus: Bus | None = None, give_up: Callable[[ConfigurationError], None] | None = None) -> FastAPI:
    """Build the app from ``settings``; background threads and tasks start and stop with it.

    ``bus`` replaces the one in the settings. ``give_up`` is called, from another thread, if the configured model cannot be loaded.
    """
    section = settings.section("serving", ServingSettings)
    open_home(settings.common.home)
    bus = bus or bus_of(settings)
    outlet, keys = outlet_and_keys(settings, bus, "serving", opens=False)
    access = AccessControl.of(settings, "serving", bus, outlet)
    intake = Intake(
        outlet,
        pseudonym_key(settings.common),
        settings.section("feedback", FeedbackCaps),
        settings.section("asking", AskingSettings),
        Redactor(settings.section("privacy", PrivacySettings)),
        sealer_of(settings, keys),
    )
    backend: Backend
    promotions: Promotions | None = None
    duel = CurrentDuel()
    first, other = (settings.section(model.section, model) for model in (UpstreamSettings, SecondUpstreamSettings))
    if first.url:
        backend = upstream(first)
    else:
        options = Options(settings.common.model, section.threads, section.capacity)
        backend = local = LocalBackend(options, most_waiting=section.most_waiting)
        promotions = Promotions(
            bus,
            Artifacts(settings.common.artifacts_url),
            install=local.install,
            install_challenger=_challenger_installer(local, duel),
            explain=local.explain,
            give_up=give_up or (lambda error: local.explain(str(error))),
            memory=settings.common.home / "serving" / "champion.json",
            admission=_admission(settings),
            stand_by=local.stand_by,
            lost=lambda: local.lost,
        )
    rule = PairingRule(section.pairing_share, section.pairing_waiting, section.pairing_draws, section.pairing_temperature)
    ranker = Reranker(section.reward_model, settings)
    reward = OnlineReward(CurrentHead.of(settings, bus).newest, settings.section("features", FeatureSettings))
    choice = SecondChoice(reward, section.pairing_candidates) if section.pairing_candidates > 1 else None
    second = upstream(other) if other.url else None
    pairing = Pairing(backend, intake, rule, duel, ranker, choice, second)
    metrics.second_responses(lambda: pairing.waiting)
    safety = Safety.of(settings)
    service = Service(backend, intake, pairing, section.max_tokens, duel, ranker, section.best_of, section.unlogged_prompts, safety)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        access.start()
        pairing.start()
        if promotions is not None:
            promotions.start()
        ranker.start()
        yield
        stopping: list[Coroutine[Any, Any, None]] = [pairing.stop(within=PAIRING_SHUTDOWN_TIMEOUT), asyncio.to_thread(access.stop)]
        if promotions is not None:
            stopping.append(asyncio.to_thread(promotions.stop))
        await asyncio.gather(*stopping)
        for each in (backend, second):
            if each is not None:
                await each.close()
        await safety.close()
        if outlet is not bus:
            await asyncio.to_thread(outlet.close)
        await asyncio.to_thread(keys.close)
        bus.close()

    app = new_app(lifespan=lifespan)
    checks = {"model": backend.why_not_ready, **access.checks, "text keys": lambda: keys.problem}
    app.include_router(health_router(checks, lambda request: caller_of(request).may("read")))
    app.include_router(metrics_router(), dependencies=[needs("read")])
    app.include_router(widget_router())
    add_routes(app, service, reward, settings.section("features", FeatureSettings), access)
    app.add_middleware(AccessGuard, access=access)
    if section.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=section.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(WidgetPreflights, origins=access.tokens.origins)
    hosts = (*settings.common.allowed_hosts, section.host)
    app.add_middleware(
        RequestGuard,
        allowed_hosts=hosts,
        allowed_origins=section.cors_origins,
        scripts=[WIDGET],
        origins_of_paths=dict.fromkeys(PATHS, access.tokens.origins),
    )
    return app


def _admission(settings: Settings) -> Admission:
    keys = Keys(settings.common.home, settings.section("attestation", AttestationSettings))
    return Admission(Artifacts(settings.common.artifacts_url), keys, lambda: base_hash(settings.common.model))


def _challenger_installer(backend: LocalBackend, duel: CurrentDuel) -> Callable[[Challenger | None, Path | None], None]:
    def install(challenger: Challenger | None, adapter: Path | None) -> None:
        if challenger is None:
            duel.now = None
            backend.install_challenger(None)
            return
        backend.install_challenger(challenger.version, adapter)
        duel.now = Duel(challenger.version, challenger.champion, ChallengerModel(backend, challenger.version), challenger.share)

    return install


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which re-raise the signal after shutdown: exiting on SIGTERM is not a failure."""

    def capture_signals(self) -> Any:
        return nullcontext()
