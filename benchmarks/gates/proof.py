"""Is every changed byte found? Random flips in records, signatures and the artifacts behind them, verified in this process.

Each flip changes one random bit of one random byte of one part of a valid promotion: the record's payload, its signatures, the rest of the
envelope, adapter, report, settings, snapshot, the adapter's own signature, or the record of the champion before. It is found when the
verification fails; then the byte is restored. Takes about three minutes.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from benchmarks.gates.promoted_world import BASE_HASH, PromotedWorld, reviewer_key
from storage.artifacts import MANIFEST
from storage.attestation.settings import AttestationSettings
from streams.attestation.verify import verify

SEED = 10_000
FLIPS = 1_000
QUICK = 60


def figures(quick: bool) -> Sequence[Figure]:
    """``tampering_found``: the share of flips found; ``tampering_missed_…`` for each part where one was missed."""
    n = QUICK if quick else FLIPS
    with tempfile.TemporaryDirectory() as folder:
        tried, found = tamper(Path(folder), n, SEED)
    share = sum(found.values()) / n
    missed = [
        Figure(f"tampering_missed_{part}", tried[part] - found[part], None, None, "flips") for part in tried if tried[part] > found[part]
    ]
    return [Figure("tampering_found", share, None, None, "share", ">=1"), *missed]


def tamper(home: Path, n: int, seed: int) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Flip ``n`` bits, one at a time; return how many were tried and found in each part."""
    world = PromotedWorld(home, AttestationSettings(reviewer_key=reviewer_key(home / "reviewer.pem")))
    world.grow("one")
    promoted = world.grow("two")
    trusted = world.attestor.keys.trusted()
    raw = world.record(promoted)
    files = _files(world)
    rng = np.random.default_rng(seed)
    parts = [*files, *_sections(raw)]
    tried, found = Counter[str](), Counter[str]()

    def valid() -> bool:
        return verify(raw, world.artifacts, trusted, BASE_HASH).ok

    assert valid()
    for _ in range(n):
        part = parts[rng.integers(len(parts))]
        tried[part] += 1
        if part in files:
            caught = _flip_file(files[part][rng.integers(len(files[part]))], rng, valid)
        else:
            low, high = _sections(raw)[part]
            caught = not verify(_flipped(raw, int(rng.integers(low, high)), rng), world.artifacts, trusted, BASE_HASH).ok
        found[part] += caught
    return tried, found


def _sections(raw: bytes) -> dict[str, tuple[int, int]]:
    """The record's parts by their bytes: payload, signatures, and the whole envelope with its type and punctuation."""
    payload, signatures = raw.index(b'"payload":"') + 11, raw.index(b'"signatures":') + 13
    return {"payload": (payload, raw.index(b'"', payload)), "signatures": (signatures, len(raw) - 1), "envelope": (0, len(raw))}


def _files(world: PromotedWorld) -> dict[str, list[Path]]:
    """The files of each artifact behind the record; folders with their listings."""
    statement = world.statement(world.versions.promoted[-1])
    evidence = statement.evidence
    hashes = {
        "adapter": statement.digest("adapter"),
        "report": statement.digest("report"),
        "settings": statement.digest("settings"),
        "snapshot": statement.digest("snapshot"),
        "model_signature": evidence.model_signature.signature,
        "model_key": evidence.model_signature.key,
        "previous_record": evidence.previous,
    }
    found: dict[str, list[Path]] = {}
    for part, sha in hashes.items():
        assert sha is not None
        path = world.artifacts.get(sha)
        found[part] = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        assert path.is_file() or MANIFEST in {file.name for file in found[part]}
    return found


def _flip_file(file: Path, rng: np.random.Generator, valid: Callable[[], bool]) -> bool:
    """Whether a flip in the file is found; the file is restored."""
    original = file.read_bytes()
    file.write_bytes(_flipped(original, int(rng.integers(len(original))), rng))
    try:
        return not valid()
    finally:
        file.write_bytes(original)


def _flipped(data: bytes, at: int, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)
