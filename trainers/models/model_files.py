"""Validates the folder of a model or an adapter before anything is loaded from it.

Weights have to be intact safetensors, never pickles: unpickling can run code.
"""

import json
from pathlib import Path
from typing import Any

import orjson
from safetensors import SafetensorError, safe_open

from storage.errors import ModelNotFound

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
REDOWNLOAD = "copy or download it again"


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter and no model.

    Raises
    ------
    ModelNotFound
        It holds both, so it is ambiguous which one is meant.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        raise ModelNotFound(f"{folder}: holds both a model and an adapter ({ADAPTER_CONFIG}); put them in separate folders")
    return True


def adapter_base(folder: Path) -> str:
    """The model that the adapter was trained on: a folder, an id or ``shipped``.

    Raises
    ------
    ModelNotFound
        The adapter's config does not name it.
    """
    base = _adapter_config(folder).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelNotFound(
            f"{folder / ADAPTER_CONFIG}: it does not say which model the adapter is for; set base_model_name_or_path to that model's "
            "folder or id"
        )
    return base


def check_adapter(folder: Path) -> None:
    """Reject a folder that is not a LoRA adapter in safetensors or contains a pickle.

    Raises
    ------
    ModelNotFound
        Names the invalid file and what to do.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        raise ModelNotFound(f"{folder}: contains no adapter; give the folder that a training run wrote")
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICKLES:
            raise ModelNotFound(
                f"{path}: a pickle, which can run code when it is read; adapters are taken as {ADAPTER_WEIGHTS} only: convert or remove it"
            )
    _check_json(folder)
    kind = _adapter_config(folder).get("peft_type")
    if kind != "LORA":  # other kinds can reference further files, including pickles
        raise ModelNotFound(f"{folder / ADAPTER_CONFIG}: peft_type is {kind!r}; only LORA adapters are taken")
    _check_weights(folder / ADAPTER_WEIGHTS)


def check_model(folder: Path) -> None:
    """Reject a model folder with a missing or damaged file.

    Raises
    ------
    ModelNotFound
        Names the invalid file and what to do.
    """
    _check_json(folder)
    if not (folder / INDEX).is_file():
        if not (folder / WEIGHTS).is_file() and (pickles := sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICKLES)):
            raise ModelNotFound(
                f"{folder / pickles[0]}: a pickle, which can run code when it is read; models are taken as safetensors only: "
                "save it again with save_pretrained"
            )
        _check_weights(folder / WEIGHTS)
        return
    shards = _json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ModelNotFound(f"{folder / INDEX}: it names no weights; {REDOWNLOAD}")
    for name in sorted(set(map(str, shards.values()))):
        _check_weights(folder / name)


def _check_weights(path: Path) -> None:
    if not path.is_file():
        raise ModelNotFound(f"{path}: the weights are missing; {REDOWNLOAD}")
    with path.open("rb") as file:
        if file.read(20) == b"version https://git-":
            raise ModelNotFound(f"{path}: a Git LFS pointer instead of the weights; fetch them with `git lfs pull`")
    try:
        with safe_open(path, framework="numpy"):  # reads the header and checks it against the file's length
            pass
    except (SafetensorError, OSError) as error:
        raise ModelNotFound(f"{path}: the weights are damaged or cut short ({error}); {REDOWNLOAD}") from error


def _check_json(folder: Path) -> None:
    for name in JSON_FILES:
        if (folder / name).is_file():
            _json(folder / name)


def _adapter_config(folder: Path) -> dict[str, Any]:
    return _json(folder / ADAPTER_CONFIG)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ModelNotFound(f"{path}: damaged, it is not JSON ({error}); {REDOWNLOAD}") from error
    if not isinstance(value, dict):
        raise ModelNotFound(f"{path}: damaged, it holds a {type(value).__name__} and not an object; {REDOWNLOAD}")
    return value
