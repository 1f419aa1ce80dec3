"""The environment of TRL 1.12, the last version with PPO: made once, apart from ours, whose TRL is newer.

It lies in the folder that ``FEEDBACKLOOP_BENCHMARK_CACHE`` names, by default in the user's cache folder.
"""

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from storage.places import user_cache

CACHE = "FEEDBACKLOOP_BENCHMARK_CACHE"
PACKAGES = ("trl[peft]==1.12.*", "transformers==5.24.*", "accelerate==1.15.*")  # torch is our version


def trl_python() -> Path:
    """The environment's Python; installs it if it is not there yet, which takes minutes.

    Raises
    ------
    subprocess.CalledProcessError
        pip failed; its output says why.
    """
    torch = version("torch").partition("+")[0]
    folder = Path(os.environ.get(CACHE) or user_cache() / "benchmarks") / f"trl-1.12-torch-{torch}"
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        sys.stderr.write(f"installing {', '.join(PACKAGES)} into {folder}\n")
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"torch=={torch}", *PACKAGES], check=True)
        (folder / "complete").touch()
    return python
