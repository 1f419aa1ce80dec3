"""Checkpoints of a reward head: one safetensors file, replaced atomically, and beside it the history shards that it references by hash.

The file alone is enough to predict and to rerank (``load(path, history=False)``); to continue learning, its shards are needed too. Weights
and sequence number are in one file, so a learner killed at any moment resumes exactly where its weights are.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import orjson
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from storage.errors import ArtifactError
from trainers.reward.online.head import FORMULATION, Head, Taste
from trainers.reward.online.history import STORED, History, Shard
from trainers.reward.online.recruiters import Recruiter
from trainers.reward.online.settings import HeadSettings


def save(head: Head, path: Path) -> Path:
    """Write ``head`` to ``path``, which is returned, and new shards to the folder ``<path>.history``; delete unreferenced shards."""
    save_hashed(head, path)
    return path


def save_hashed(head: Head, path: Path) -> str:
    """As :func:`save`; returns the SHA-256 of the file."""
    folder = _shard_folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    named = {shard_file(path, shard.digest).name: shard for shard in head.history.shards}
    for name, shard in named.items():
        if not (folder / name).exists():
            _write_atomic(folder / name, shard.as_file())
    lower = np.tril_indices(head.dimension + 1)
    prior = Taste.prior(head.settings, head.dimension)
    learnt = {name: taste for name, taste in head.tastes.items() if not _equal(taste, prior)}
    differences = [difference for _, difference in head.history.tail]
    tensors = {
        **{f"mean {name}": taste.mean for name, taste in learnt.items()},
        **{f"covariance {name}": taste.covariance[lower] for name, taste in learnt.items()},
        "settled": np.frombuffer(head.history.settled.tobytes(), np.uint8),
        "tail": np.frombuffer(b"".join([row.tobytes() for row, _ in head.history.tail]), np.uint8),
        "tail_differences": np.stack(differences) if differences else np.empty((0, head.dimension), STORED),
    }
    about = {
        "formulation": FORMULATION,
        "head_id": head.head_id,
        "settings": head.settings.model_dump(mode="json"),
        "embedding_hash": head.embedding_hash,
        "sources": head.sources,
        "sequence": head.sequence,
        "judgments_seen": head.judgments_seen,
        "dimension": head.dimension,
        "cut_points": {name: taste.cut_points for name, taste in learnt.items()},
        "recruiters": {
            name: {who: asdict(recruiter) for who, recruiter in sorted(taste.recruiters.items())} for name, taste in learnt.items()
        },
        "marked": head.marked,
        "reconciled_at": head.reconciled_at,
        "names": head.history.names,
        "shards": [shard.digest for shard in head.history.shards],
    }
    content = serialise(tensors, {"head": orjson.dumps(about).decode()})
    _write_atomic(path, content)
    for stale in folder.glob("*.safetensors"):
        if stale.name not in named:
            stale.unlink()
    return hashlib.sha256(content).hexdigest()


def load(path: Path, *, history: bool = True, shard_at: Callable[[str], Path] | None = None) -> Head:
    """Load the head in ``path``. Without its ``history`` it can predict, but not remove, reconcile or be saved.

    ``shard_at`` maps a shard's hash to its path; by default shards are in the folder beside ``path``.

    Raises
    ------
    ArtifactError
        The file or one of its shards is missing, damaged, or of another formulation: learn the preferences from sequence 1 again.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = orjson.loads(file.metadata()["head"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, a safe_open is not a mapping
    except (OSError, SafetensorError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ArtifactError(f"{path}: no reward head to be read there: {error}") from error
    if about["formulation"] != FORMULATION:
        raise ArtifactError(
            f"{path}: formulation {about['formulation']}, this program's is {FORMULATION}; learn the preferences from sequence 1 again"
        )
    settings, dimension = HeadSettings.model_validate(about["settings"]), about["dimension"]
    prior = Taste.prior(settings, dimension)
    tastes = dict.fromkeys(settings.questions, prior)
    for name, recruiters in about["recruiters"].items():
        covariance = np.zeros(prior.covariance.shape, order="F")
        covariance[np.tril_indices(dimension + 1)] = tensors[f"covariance {name}"]
        fitted = {who: Recruiter(**fields) for who, fields in recruiters.items()}
        tastes[name] = Taste(tensors[f"mean {name}"].copy(), covariance, tuple(about["cut_points"][name]), fitted)
    past = History.empty(dimension, len(settings.questions))
    if history:
        row = past.settled.dtype
        tail = np.frombuffer(tensors["tail"].tobytes(), row)
        past = History.of(
            dimension=dimension,
            settled=np.frombuffer(tensors["settled"].tobytes(), row),
            shards=tuple(_shard(shard_at(digest) if shard_at else shard_file(path, digest), digest) for digest in about["shards"]),
            tail=tuple((np.array(row), difference) for row, difference in zip(tail, tensors["tail_differences"], strict=True)),
            names=tuple(about["names"]),
        )
    return Head(
        settings=settings,
        embedding_hash=about["embedding_hash"],
        sources=tuple(about["sources"]),
        tastes=tastes,
        history=past,
        sequence=about["sequence"],
        judgments_seen=about["judgments_seen"],
        marked=about["marked"],
        reconciled_at=about["reconciled_at"],
    )


def _equal(one: Taste, other: Taste) -> bool:
    return np.array_equal(one.mean, other.mean) and np.array_equal(one.covariance, other.covariance) and not one.recruiters


def shard_file(path: Path, digest: str) -> Path:
    """The path of the shard with this hash, beside the head's file ``path``."""
    return _shard_folder(path) / f"{digest}.safetensors"


def _shard_folder(path: Path) -> Path:
    return path.with_name(path.name + ".history")


def _shard(path: Path, digest: str) -> Shard:
    try:
        with safe_open(path, framework="numpy") as file:
            shard = Shard.of(file.get_tensor("differences"))
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: a part of the reward head's history cannot be read: {error}") from error
    if shard.digest != digest:
        raise ArtifactError(f"{path}: its content has the hash {shard.digest}; learn the preferences from sequence 1 again")
    return shard


def _write_atomic(path: Path, data: bytes) -> None:
    """Write ``path`` atomically and durably."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
