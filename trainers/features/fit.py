"""Fit the whitening P of the features on texts of another domain: ``python -m trainers.features.fit FILE.jsonl --out FILE.safetensors``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
from pydantic import TypeAdapter
from safetensors.numpy import save_file

from storage.errors import ConfigurationError
from storage.events import Message, Prompt
from trainers.features.embedder import GUARD_SHARE, Item, raw_features
from trainers.features.encoder import Encoder, shipped_folder
from trainers.features.guards import FLOOR
from trainers.features.settings import FeatureSettings

COMPONENTS = 384  # of P; with the guards and the fingerprint 393 features
SHRINKAGE = 30.0  # in units of the mean eigenvalue, see fit_whitening
BLOCK_SHARES = (1.0, 1.0, 0.5)  # relative scale of the three blocks before whitening


def fit_whitening(
    blocks: np.ndarray, surface: np.ndarray, *, shrinkage: float = SHRINKAGE, components: int = COMPONENTS
) -> tuple[np.ndarray, np.ndarray]:
    """Fit P and the guards' scale on differences between two replies to the same prompt; needs no judgments.

    Parameters
    ----------
    blocks : differences of the three embedding blocks, ``(n, 3 width)``
    surface : differences of the guards, ``(n, 8)``
    shrinkage : added to each eigenvalue before the square root, in units of the mean eigenvalue. 0 is plain whitening, which blows up
        directions that hardly vary in the fitted texts; larger values keep each direction closer to its original scale.
    components : number of leading directions kept in P

    Returns
    -------
    projection : ``(components, 3 width)``, scaled so that the mean squared length of a projected difference is 1
    guard_scale : ``(8,)``, so that each guard has the standard deviation ``GUARD_SHARE``
    """
    parts = np.split(blocks.astype(float), 3, axis=1)
    sizes = [share / np.sqrt((part**2).sum(axis=1).mean()) for share, part in zip(BLOCK_SHARES, parts, strict=True)]
    balance = np.repeat(sizes, blocks.shape[1] // 3)
    balanced = blocks * balance
    values, directions = np.linalg.eigh(balanced.T @ balanced / len(blocks))
    values, directions = values[::-1][:components], directions[:, ::-1][:, :components]
    projection = (directions / np.sqrt(values.clip(0) + shrinkage * values.clip(0).sum() / blocks.shape[1])).T * balance
    projection /= np.sqrt(((blocks @ projection.T) ** 2).sum(axis=1).mean())
    return np.ascontiguousarray(projection, np.float32), GUARD_SHARE / np.maximum(surface.std(axis=0), FLOOR)


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m trainers.features.fit FILE.jsonl --out FILE.safetensors``: lines of ``{"prompt": [messages], "a": …, "b": …}``."""
    parser = argparse.ArgumentParser(prog="python -m trainers.features.fit", description=main.__doc__)
    parser.add_argument("pairs", type=Path, help="JSONL with prompt (chat messages), a and b: two replies to one prompt")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--shrinkage", type=float, default=SHRINKAGE)
    options = parser.parse_args(arguments)
    items = _pairs(options.pairs)
    settings = FeatureSettings()
    blocks, surface = raw_features(items, Encoder(shipped_folder(), settings.arithmetic), settings.prompt_tokens)
    projection, guard_scale = fit_whitening(blocks[::2] - blocks[1::2], surface[::2] - surface[1::2], shrinkage=options.shrinkage)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    about = {"pairs": str(len(items) // 2), "shrinkage": str(options.shrinkage), "prompt_tokens": str(settings.prompt_tokens)}
    save_file({"projection": projection.astype(np.float16), "guard_scale": guard_scale}, options.out, about)
    print(f"{options.out}: {len(projection)} components from {len(items) // 2} pairs of replies")


def _pairs(path: Path) -> list[Item]:
    messages: TypeAdapter[tuple[Message, ...]] = TypeAdapter(Prompt)
    items: list[Item] = []
    try:
        for line in path.read_bytes().splitlines():
            record = orjson.loads(line)
            prompt = messages.validate_python(record["prompt"])
            if record["a"] != record["b"]:
                items += [(prompt, record["a"]), (prompt, record["b"])]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error!r}; expected lines with prompt (chat messages), a and b") from error
    if not items:
        raise ConfigurationError(f"{path}: no line has two different replies")
    return items


if __name__ == "__main__":
    main()
