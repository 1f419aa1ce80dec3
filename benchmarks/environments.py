"""Environments of other programs that a benchmark compares with: made once, apart from ours.

They lie in the folder that ``FEEDBACKLOOP_BENCHMARK_CACHE`` names, by default in the user's cache folder.
"""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from storage.places import user_cache

CACHE = "FEEDBACKLOOP_BENCHMARK_CACHE"


def environment(name: str, packages: Sequence[str]) -> Path:
    """The environment's Python; installs the packages if they are not there yet.

    Raises
    ------
    subprocess.CalledProcessError
        pip failed; its output says why.
    """
    folder = Path(os.environ.get(CACHE) or user_cache() / "benchmarks") / name
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        sys.stderr.write(f"installing {', '.join(packages)} into {folder}\n")
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "complete").touch()
    return python
