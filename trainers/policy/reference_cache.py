"""Log-probabilities of replies under the reference, kept between runs: most comparisons of a retraining were in the last one too.

One file a reference. An entry's name is a keyed hash of a row's tokens, the reference's name the hash of its weights and of everything else
that decides its numbers. So a wrong entry cannot be found, only none; and without the key, no entry says whether something was said.
"""

import contextlib
import hashlib
import hmac
import logging
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from storage.places import user_cache
from trainers.policy.training import CachePlace

log = logging.getLogger(__name__)

FORMULATION = 3  # bump on every change that alters the log-probabilities of the same tokens
ENTRIES = 200_000  # of a reference, 36 bytes each; the oldest are dropped
REFERENCES = 8  # files; those longest unused are removed


class ReferenceCache:
    """The log-probabilities of one reference. A file that cannot be read is replaced, and one that cannot be written is done without.

    Parameters
    ----------
    reference : from :func:`reference_hash`
    place : by default the user's cache folder, without a key: for trainings from the user's own files
    """

    def __init__(self, reference: str, place: CachePlace | None = None) -> None:
        self._folder = place.folder if place is not None else user_cache() / "reference-log-probabilities"
        self._key = place.key if place is not None else b""
        self._path = self._folder / f"{reference}.safetensors"

    def key_of(self, found: str, *token_ids: Sequence[int]) -> bytes:
        """The key of what was ``found`` for the columns of a row."""
        lengths = [len(each) for each in token_ids]
        flat = np.array([token for each in token_ids for token in each], np.int64)
        return hmac.digest(self._key, repr((found, lengths)).encode() + flat.tobytes(), "sha256")

    def get(self, keys: Sequence[bytes]) -> list[float | None]:
        """The log-probability of each key; None where there is none."""
        known = self._read()
        return [known.get(key) for key in keys]

    def add(self, found: Mapping[bytes, float]) -> None:
        """Keep these, beside what other runs have added meanwhile."""
        entries = list({**self._read(), **found}.items())[-ENTRIES:]
        tensors: dict[str, np.ndarray] = {
            "keys": np.frombuffer(b"".join(key for key, _ in entries), np.uint8).reshape(-1, 32),
            "values": np.array([value for _, value in entries], np.float32),
        }
        digest = hashlib.sha256(tensors["keys"].tobytes() + tensors["values"].tobytes()).hexdigest()
        partial = self._folder / f"{uuid4().hex}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial.write_bytes(save(tensors | {"digest": np.frombuffer(bytes.fromhex(digest), np.uint8)}))
            partial.replace(self._path)
            for old in sorted(self._folder.glob("*.safetensors"), key=lambda path: -path.stat().st_mtime)[REFERENCES:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            log.info("%s: the reference's log-probabilities are not kept (%s)", self._path, error.strerror)

    def _read(self) -> dict[bytes, float]:
        try:
            tensors = load_file(self._path)
            keys, values = tensors["keys"], tensors["values"]
            if hashlib.sha256(keys.tobytes() + values.tobytes()).digest() != tensors["digest"].tobytes():
                raise ValueError("its digest is another")
            os.utime(self._path)  # the last use
        except FileNotFoundError:
            return {}
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            log.warning("%s: ignored, since it is damaged (%s)", self._path, error)
            return {}
        return dict(zip(map(bytes, keys), values.tolist(), strict=True))


def reference_hash(model: Any, precision: str) -> str:
    """SHA-256 of a model without its adapter: weights, configuration, libraries, and what else decides how its numbers are rounded."""
    configuration = {name: value for name, value in model.config.to_dict().items() if name != "_name_or_path"}
    device = next(model.parameters()).device.type
    arithmetic = [precision, device, torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()]
    libraries = [f"{name} {version(name)}" for name in ("torch", "transformers")]
    digest = hashlib.sha256(repr([FORMULATION, arithmetic, libraries, sorted(configuration.items())]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if "lora_" not in name:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
