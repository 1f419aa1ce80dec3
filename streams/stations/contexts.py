"""The dependencies that each process passes to the stations it builds."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storage.artifacts import Artifacts
from storage.settings import Settings
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Warehouse
from streams.attestation.attestor import Attestor
from streams.bus.protocol import Bus
from streams.stations.retention_settings import RetentionSettings
from streams.webhooks.settings import WebhookSettings
from trainers.features.embedding import Embedding

if TYPE_CHECKING:
    from streams.stations.train import Train


@dataclass(frozen=True)
class ProcessorContext:
    """``feedbackloop processor``."""

    bus: Bus
    settings: Settings
    embedder: Embedding
    texts: Texts = PLAIN


@dataclass(frozen=True)
class HubContext:
    """``feedbackloop hub``, the owner of the warehouse."""

    bus: Bus
    warehouse: Warehouse
    artifacts: Artifacts
    home: Path
    stop: threading.Event
    attestor: Attestor
    webhooks: WebhookSettings
    texts: Texts
    retention: RetentionSettings


@dataclass(frozen=True)
class TrainerContext:
    """``feedbackloop trainer``; ``name`` is stable across restarts, ``train`` does the work of a claimed run."""

    bus: Bus
    home: Path
    name: str
    train: "Train"
    stop: threading.Event
