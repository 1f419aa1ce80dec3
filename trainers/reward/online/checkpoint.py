"""Checkpoints of a reward head: one safetensors file, replaced atomically, and beside it the parts of the history that it names by hash.

The file alone is enough to predict and to rerank (``load(path, history=False)``); to continue learning, its history is needed too. Weights
and sequence number are in one file, so a learner killed at any moment resumes exactly where its weights are.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from storage.errors import ArtifactError
from storage.files import write_atomic
from trainers.reward.online.head import FORMULATION, Head, Taste
from trainers.reward.online.history import STORED, History, Part, row_type
from trainers.reward.online.recruiters import Recruiter
from trainers.reward.online.settings import HeadSettings


def save(head: Head, path: Path) -> Path:
    """Write ``head`` to ``path``, which is returned, and its history's new parts to the folder ``<path>.history``; delete other parts."""
    save_hashed(head, path)
    return path


def save_hashed(head: Head, path: Path) -> str:
    """As :func:`save`; returns the SHA-256 of the file."""
    folder = _part_folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    named = {part_file(path, part.digest).name: part for part in head.history.parts}
    for name, part in named.items():
        if not (folder / name).exists():
            write_atomic(folder / name, part.as_file())
    lower = np.tril_indices(head.dimension + 1)
    prior = Taste.prior(head.settings, head.dimension)
    learnt = {name: taste for name, taste in head.tastes.items() if not _equal(taste, prior)}
    differences = [difference for _, difference in head.history.tail]
    tensors = {
        **{f"mean {name}": taste.mean for name, taste in learnt.items()},
        **{f"covariance {name}": taste.covariance[lower] for name, taste in learnt.items()},
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
        "settled": head.history.settled_part.digest if len(head.history.settled) else None,
    }
    content = serialise(tensors, {"head": orjson.dumps(about).decode()})
    write_atomic(path, content)
    for stale in folder.glob("*.safetensors"):
        if stale.name not in named:
            stale.unlink()
    return hashlib.sha256(content).hexdigest()


def parts_of(path: Path) -> list[str]:
    """The hashes of the parts of the history that the head in ``path`` names.

    Raises
    ------
    ArtifactError
        The file is damaged.
    """
    about, _ = _read(path)
    return [*about["shards"], *([about["settled"]] if about["settled"] is not None else [])]


def load(path: Path, *, history: bool = True, part_at: Callable[[str], Path] | None = None) -> Head:
    """Load the head in ``path``. Without its ``history`` it can predict, but not remove, reconcile or be saved.

    ``part_at`` maps the hash of a part of the history to its path; by default parts are in the folder beside ``path``.

    Raises
    ------
    ArtifactError
        The file or a part of its history is missing, damaged, or of another formulation: learn the preferences from sequence 1 again.
    """
    about, tensors = _read(path)
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
    past = _history(path, about, tensors, part_at) if history else History.empty(dimension, len(settings.questions))
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


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            about = orjson.loads(file.metadata()["head"])
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, a safe_open is not a mapping
    except (OSError, SafetensorError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ArtifactError(f"{path}: no reward head to be read there: {error}") from error


def _equal(one: Taste, other: Taste) -> bool:
    return np.array_equal(one.mean, other.mean) and np.array_equal(one.covariance, other.covariance) and not one.recruiters


def part_file(path: Path, digest: str) -> Path:
    """The path of the part with this hash, beside the head's file ``path``."""
    return _part_folder(path) / f"{digest}.safetensors"


def _part_folder(path: Path) -> Path:
    return path.with_name(path.name + ".history")


def _history(path: Path, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray], part_at: Callable[[str], Path] | None) -> History:
    def part(digest: str) -> Part:
        return _part(part_at(digest) if part_at else part_file(path, digest), digest)

    row = row_type(1 + len(about["settings"]["objectives"]))
    settled = part(about["settled"]).array.tobytes() if about["settled"] is not None else b""
    tail = np.frombuffer(tensors["tail"].tobytes(), row)
    return History.of(
        dimension=about["dimension"],
        settled=np.frombuffer(settled, row),
        shards=tuple(map(part, about["shards"])),
        tail=[(np.array(each), difference) for each, difference in zip(tail, tensors["tail_differences"], strict=True)],
        names=tuple(about["names"]),
    )


def _part(path: Path, digest: str) -> Part:
    try:
        with safe_open(path, framework="numpy") as file:
            array = file.get_tensor("data")
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: a part of the reward head's history cannot be read: {error}") from error
    part = Part.of(array)
    if part.digest != digest:
        raise ArtifactError(f"{path}: its content has the hash {part.digest}; learn the preferences from sequence 1 again")
    return part
