"""What does the bare install cost: ``pip install feedbackloop`` without an extra, which is the client?

``python -m benchmarks.install --json FILE``: a new virtual environment gets the wheel of this tree and what it depends on (from
where pip is set up to fetch it). ``client_mb`` is what that adds to its site-packages; ``import_ms`` the median time of ``from feedbackloop
import Client`` in a new process, beyond that of an interpreter that imports nothing.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, result, write

ROOT = Path(__file__).resolve().parents[1]
STARTS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = folder / "venv" / "bin" / "python"
        run(sys.executable, "-m", "venv", str(folder / "venv"))
        before = megabytes(folder / "venv")
        run(str(python), "-m", "pip", "install", "--quiet", str(ROOT))
        size = megabytes(folder / "venv") - before
        bare, imported = (starts(python, words) for words in ("pass", "from feedbackloop import Client"))
        heavy = subprocess.run(
            [str(python), "-c", "import feedbackloop.client, sys; print(sorted({'numpy', 'torch'} & sys.modules.keys()))"],
            capture_output=True,
            text=True,
            check=True,
            cwd=folder,
        ).stdout.strip()
    figures = [
        Figure("import_ms", round(1000 * (imported - bare), 1), None, None, "ms", "<=300"),
        Figure("client_mb", round(size, 1), None, None, "MB", "<=40"),
        Figure("heavy_imports", 0.0 if heavy == "[]" else 1.0, None, None, "", "==0"),
    ]
    write(result("install", figures, ("httpx", "pydantic")), arguments.json)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def starts(python: Path, words: str) -> float:
    """Median seconds of a process that runs ``words``; the first, which compiles, does not count."""
    seconds = []
    for _ in range(STARTS + 1):
        started = time.perf_counter()
        subprocess.run([str(python), "-c", words], check=True, cwd=python.parent)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
