"""The form of every benchmark's result, written as JSON and printed as a table.

``python -m benchmarks.figures FILE …`` puts results on the page ``benchmarks/RESULTS.md``; other benchmarks' sections stay, and so
do the rows of a benchmark that was run in part.
"""

import argparse
import json
import operator
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
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
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "versions": {package: version(package) for package in packages},
        "figures": [asdict(figure) for figure in figures],
        **more,
    }


def commit() -> str:
    """The commit of this checkout, with a plus where tracked files differ from it; empty outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


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


def section(found: dict[str, Any]) -> str:
    """The benchmark's section of the page: when and on what it was measured, then its table."""
    machine = found["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    measured = f"{found['date']}, commit {found['commit'] or 'unknown'}; {machine['cores']} cores, Python {machine['python']}; {packages}"
    return f"## {found['benchmark']}\n\n{measured}\n\n{as_table(found)}\n"


def with_results(page: str, results: Sequence[dict[str, Any]]) -> str:
    """``page`` with each result's section in place of its benchmark's earlier one, or at the end where there was none."""
    head, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    by_name = {each.splitlines()[0].removeprefix("## "): each.strip() + "\n" for each in sections}
    for found in results:
        text, earlier = section(found), by_name.get(found["benchmark"], "")
        by_name[found["benchmark"]] = _with_earlier(text, earlier) if found.get("partial") and earlier else text
    return "\n".join([head.strip() + "\n", *by_name.values()])


def _with_earlier(text: str, earlier: str) -> str:
    """A section of some rows with the rows of the earlier section that were not measured this time; its head names all commits."""

    def rows(of: str) -> dict[str, str]:
        return {line.split("|")[1].strip(): line for line in of.splitlines() if line.startswith("| ")}

    others = {name: line for name, line in rows(earlier).items() if name not in rows(text)}
    commits = re.compile(r"commit ([^;]+);")
    before = [commit for found in commits.findall(earlier) for commit in found.split(" and ")] if others else []
    named = dict.fromkeys([*commits.findall(text)[0].split(" and "), *before])
    return commits.sub(f"commit {' and '.join(named)};", text, count=1) + "".join(f"{line}\n" for line in others.values())


def main() -> None:
    parser = argparse.ArgumentParser(description="Put results of benchmarks on the page of results.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--page", type=Path, default=Path(__file__).parent / "RESULTS.md")
    arguments = parser.parse_args()
    results = [json.loads(file.read_text(encoding="utf-8")) for file in arguments.files]
    arguments.page.write_text(with_results(arguments.page.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
