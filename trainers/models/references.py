"""What a model's name in a setting refers to: ``shipped``, a folder, an adapter on a base, or a Hugging Face id. Imports no torch."""

import hashlib
import math
from pathlib import Path

import orjson
from safetensors import SafetensorError, safe_open

from storage.errors import ModelNotFound
from storage.files import file_hash
from trainers.models.model_files import adapter_base, is_adapter

SHIPPED = "shipped"


def resolve_model(ref: str) -> str:
    """The folder or Hugging Face id behind ``ref``; ``shipped`` is the model that comes with the distribution.

    Raises
    ------
    ModelNotFound
        ``ref`` is a path that holds no model.
    """
    if ref == SHIPPED:
        folder = Path(__file__).resolve().parent / "shipped"
        if not (folder / "config.json").is_file():
            raise ModelNotFound(
                "the shipped model is missing from this installation: build it with `python -m simulation.base_model.build`"
            )
        return str(folder)
    folder = Path(ref).expanduser()
    if folder.is_dir():
        if not is_adapter(folder) and not (folder / "config.json").is_file():
            raise ModelNotFound(f"{ref}: the folder holds no config.json; give the folder that `save_pretrained` wrote")
        return str(folder)
    if folder.is_absolute() or ref.startswith((".", "~")) or ref.count("/") > 1:
        raise ModelNotFound(f"{ref}: there is no such folder; give a model's folder, a Hugging Face id, or 'shipped'")
    return ref


def layers(ref: str) -> tuple[str, tuple[Path, ...]]:
    """The base model's folder or id behind ``ref``, and the adapters to apply in that order if ``ref`` is an adapter's folder.

    Raises
    ------
    ModelNotFound
        ``ref``, or the base that an adapter names, is a path that does not exist.
    """
    place, adapters = resolve_model(ref), list[Path]()
    while is_adapter(folder := Path(place).resolve()):
        if folder in adapters:
            raise ModelNotFound(f"{folder}: this adapter is its own base; set base_model_name_or_path in its adapter_config.json")
        adapters.insert(0, folder)
        base = adapter_base(folder)
        try:
            place = resolve_model(base)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"{folder}: its base model is not there ({error}); set base_model_name_or_path in its adapter_config.json"
            ) from error
    return place, tuple(adapters)


def base_hash(ref: str) -> str | None:
    """SHA-256 over the files of a model's folder; None for a Hugging Face id, whose files are not hashed.

    For an adapter's folder, over its own files and those of its base.
    """
    base, adapters = layers(ref)
    files = {
        f"{number}/{path.name}" if number else path.name: file_hash(path)
        for number, folder in enumerate((Path(base), *adapters))
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix in (".json", ".safetensors", ".bin", ".model")
    }
    return hashlib.sha256(orjson.dumps(files, option=orjson.OPT_SORT_KEYS)).hexdigest() if files else None


def parameter_count(ref: str) -> int | None:
    """The number of weights of the base model behind ``ref``, from the headers of its files; None if it is not in a local folder."""
    try:
        base, _ = layers(ref)
        files = sorted(Path(base).glob("*.safetensors")) if Path(base).is_dir() else []
        return sum(_weights(path) for path in files) if files else None
    except (ModelNotFound, OSError, SafetensorError):
        return None  # whoever loads it says what is wrong


def _weights(path: Path) -> int:
    with safe_open(path, framework="numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - it is no mapping
