"""The public API: a client for a running loop, and the trainers for use without one.

Names are imported lazily: ``Client`` needs only httpx and pydantic, training needs the extra ``train``.

>>> from feedbackloop import Client
>>> client = Client()  # serving on port 8000, the hub on 8050
>>> reply = client.chat("When is my interview?")
>>> client.judge(reply.pair_id, recruiter="Ana", choice="A", strength=3)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedbackloop.client import AsyncClient as AsyncClient
    from feedbackloop.client import Client as Client
    from feedbackloop.errors import APIError as APIError
    from feedbackloop.errors import SpoolError as SpoolError
    from feedbackloop.errors import SpoolFull as SpoolFull
    from feedbackloop.receipts import ChatReply as ChatReply
    from feedbackloop.spool import Spool as Spool
    from trainers.reward.model import RewardModel as RewardModel
    from trainers.rlhf import DPOConfig as DPOConfig
    from trainers.rlhf import DPOTrainer as DPOTrainer
    from trainers.rlhf import PPOConfig as PPOConfig
    from trainers.rlhf import RLHFConfig as RLHFConfig
    from trainers.rlhf import RLHFTrainer as RLHFTrainer

# Public name -> module that defines it.
_NAMES = {
    "APIError": "feedbackloop.errors",
    "AsyncClient": "feedbackloop.client",
    "ChatReply": "feedbackloop.receipts",
    "Client": "feedbackloop.client",
    "DPOConfig": "trainers.rlhf",
    "DPOTrainer": "trainers.rlhf",
    "PPOConfig": "trainers.rlhf",
    "RLHFConfig": "trainers.rlhf",
    "RLHFTrainer": "trainers.rlhf",
    "RewardModel": "trainers.reward.model",
    "Spool": "feedbackloop.spool",
    "SpoolError": "feedbackloop.errors",
    "SpoolFull": "feedbackloop.errors",
}

__all__ = [
    "APIError",
    "AsyncClient",
    "ChatReply",
    "Client",
    "DPOConfig",
    "DPOTrainer",
    "PPOConfig",
    "RLHFConfig",
    "RLHFTrainer",
    "RewardModel",
    "Spool",
    "SpoolError",
    "SpoolFull",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version  # takes longer to import than the rest of this file

        try:
            return version("feedbackloop")
        except PackageNotFoundError:  # run from a source tree without installing it
            return "0+unknown"
    if name not in _NAMES:
        raise AttributeError(f"module 'feedbackloop' has no attribute {name!r}")
    module = _NAMES[name]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if module.startswith("feedbackloop."):
            raise
        raise ImportError(f"{name} needs {error.name}, which is not installed: pip install 'feedbackloop[train]'") from error


def __dir__() -> list[str]:
    return __all__
