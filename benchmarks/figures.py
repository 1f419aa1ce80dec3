"""The form of every benchmark's result, written as JSON and printed as a table.

``python -m benchmarks.figures FILE … > benchmarks/RESULTS.md`` makes one page of many results.
"""

import argparse
import json
import operator
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

COMPARISONS = {">=": operator.ge, "<=": operator.le, "==": operator.eq}


@dataclass(frozen=True)
class Figure:
    """One figure with its interval; ``reach`` says what it should be (">=9"), empty where it is only reported."""

    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    reach: str = ""


def result(benchmark: str, figures: Sequence[Figure], packages: Sequence[str], **more: Any) -> dict[str, Any]:
    """The result with what it was measured on; ``more`` holds what explains the figures (seeds, tables)."""
    return {
        "benchmark": benchmark,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "versions": {package: version(package) for package in packages},
        "figures": [asdict(figure) for figure in figures],
        **more,
    }


def is_reached(figure: dict[str, Any]) -> bool | None:
    """Whether the figure is where it should be; ``None`` where nothing is asked."""
    reach: str = figure["reach"]
    if not reach:
        return None
    for sign, holds in COMPARISONS.items():
        if reach.startswith(sign):
            return bool(holds(figure["value"], float(reach.removeprefix(sign))))
    raise ValueError(f"reach = {reach!r}: begin with >=, <= or ==")


def as_table(found: dict[str, Any]) -> str:
    """A Markdown table of the result."""
    lines = ["| figure | value | interval | unit | reach | |", "|---|---|---|---|---|---|"]
    for figure in found["figures"]:
        interval = f"{figure['low']:.3g} – {figure['high']:.3g}" if figure["low"] is not None else ""
        mark = {True: "reached", False: "**missed**", None: ""}[is_reached(figure)]
        lines.append(f"| {figure['name']} | {figure['value']:.4g} | {interval} | {figure['unit']} | {figure['reach']} | {mark} |")
    return "\n".join(lines)


def write(found: dict[str, Any], file: Path | None) -> None:
    """Print the result, and write it to ``file``."""
    sys.stdout.write(f"{found['benchmark']}\n{as_table(found)}\n")
    if file is not None:
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="One page of Markdown from the results of benchmarks.")
    parser.add_argument("files", nargs="+", type=Path)
    sys.stdout.write(
        "# Results\n\nWritten by `python -m benchmarks.figures`; every figure was measured by the program it is named after.\n"
    )
    for file in parser.parse_args().files:
        found = json.loads(file.read_text(encoding="utf-8"))
        machine = found["machine"]
        packages = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        sys.stdout.write(
            f"\n## {found['benchmark']}\n\n{machine['cores']} cores, Python {machine['python']}; {packages}\n\n{as_table(found)}\n"
        )


if __name__ == "__main__":
    main()
